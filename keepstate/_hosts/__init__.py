"""Which host this is, told by its environment alone, and what is known of it."""

from keepstate._hosts.detect import FORCED, Host, detect_host
from keepstate._hosts.jupyter_server import last_activity
from keepstate._hosts.profile import Activity, Certainty, Idle, Lifetime, Profile, profile_named, profiles
from keepstate._hosts.release import push_drive, release_machine

__all__ = [
    "FORCED",
    "Activity",
    "Certainty",
    "Host",
    "Idle",
    "Lifetime",
    "Profile",
    "detect_host",
    "last_activity",
    "profile_named",
    "profiles",
    "push_drive",
    "release_machine",
]
