"""The notebook's side: cell events become calls of the session, and sentences of the session reach the cell."""

from keepstate._notebook.ipython import IPythonKernel, running_shell

__all__ = ["IPythonKernel", "running_shell"]
