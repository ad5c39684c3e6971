"""The notebook's side: cell events become calls of the session, its sentences reach the cell."""

from keepstate._notebook.ipython import IPythonKernel, running_shell

__all__ = ["IPythonKernel", "running_shell"]
