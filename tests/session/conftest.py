"""Plain scripts under guard, each a process of its own."""

import os
import subprocess
import sys
import textwrap

import pytest


@pytest.fixture
def run_script(tmp_path):
    """Run a script in a folder of its own to its end; it must end well and say nothing on stderr."""

    outside = {key: value for key, value in os.environ.items() if not key.startswith(("KEEPSTATE", "JPY_"))}

    def run(code, *, start="", fails=False, variables=None, **options):
        path = tmp_path / "script.py"
        path.write_text(start + textwrap.dedent(code))
        done = subprocess.run(
            [sys.executable, str(path)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**outside, **(variables or {})},
            **options,
        )
        if not fails:
            assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done

    return run
