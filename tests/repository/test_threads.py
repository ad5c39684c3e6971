"""What several threads do at once in a process that has just begun."""

import subprocess
import sys

from saves import files, save

DECODE = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
sys.setswitchinterval(1e-6)
from keepstate._repository.manifests import decode_manifest
raw = open(sys.argv[1], "rb").read()
together = threading.Barrier(8)
def decode(_):
    together.wait()
    return decode_manifest(raw)
with ThreadPoolExecutor(8) as pool:
    assert len({each.id for each in pool.map(decode, range(8))}) == 1
"""


def test_manifests_are_decoded_by_several_threads_from_the_first_one_on(repository):
    """The first use of a type by several threads at once crashed the process, one time in eight."""
    save(repository, {"x": b"1"}, sequence=1)
    (path,) = files(repository.path, ".manifest")
    for _ in range(8):
        done = subprocess.run([sys.executable, "-c", DECODE, path], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
