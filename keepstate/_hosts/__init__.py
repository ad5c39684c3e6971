"""Which host this is, told by its environment alone, and what is known of it."""

from keepstate._hosts.detect import FORCED, Host, detect_host
from keepstate._hosts.profile import Activity, Certainty, Idle, Lifetime, Profile, profile_named, profiles

__all__ = [
    "FORCED",
    "Activity",
    "Certainty",
    "Host",
    "Idle",
    "Lifetime",
    "Profile",
    "detect_host",
    "profile_named",
    "profiles",
]
