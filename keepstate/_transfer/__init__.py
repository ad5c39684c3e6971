"""Transfer: brings the snapshots of this machine's repository to the place that outlives the machine.

A session holds a :class:`Transfer`; the copying happens in a process of its own, which survives the kernel.
"""

from keepstate._transfer.commission import Options
from keepstate._transfer.launch import Transfer
from keepstate._transfer.report import Pending, Progress, Report, Round
from keepstate._transfer.work import Work

__all__ = ["Options", "Pending", "Progress", "Report", "Round", "Transfer", "Work"]
