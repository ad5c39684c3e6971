"""Which host this is, told by its environment alone."""

from keepstate._hosts.detect import Host, detect_host

__all__ = ["Host", "detect_host"]
