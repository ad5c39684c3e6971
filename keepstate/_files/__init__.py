"""Watched folders: the files that a notebook writes, kept beside its variables and put back.

Knows files and the repository, never Python objects. A folder is one name of a snapshot, written as its path
with a slash at the end.
"""

from keepstate._files.folder import MOST_BYTES, Folder
from keepstate._files.restore import FolderReport, KeptFolder, read_folder, restore_folder
from keepstate._files.settle import SETTLED_SECONDS
from keepstate._files.store import AT_ONCE_BYTES, FolderGroup
from keepstate._files.watcher import Watcher

__all__ = [
    "AT_ONCE_BYTES",
    "MOST_BYTES",
    "SETTLED_SECONDS",
    "Folder",
    "FolderGroup",
    "FolderReport",
    "KeptFolder",
    "Watcher",
    "read_folder",
    "restore_folder",
]
