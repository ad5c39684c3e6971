"""Random streams go on after a restore as if they had not been cut off."""

from __future__ import annotations

import json

import pytest

from keepstate._capture import random_states
from keepstate.errors import FormatError


def test_reading_changes_nothing(scenario):
    """The streams of random, numpy and torch go on as if the states had not been read."""
    assert scenario("""
        import random
        import numpy as np
        try:
            import torch
            draw_torch = lambda: torch.rand(2).tolist()
        except ImportError:
            draw_torch = list
        def draw():
            return [random.random(), random.gauss(0, 1), np.random.rand(3).tolist(), np.random.randn(),
                    draw_torch()]
        draw()
        data = random_states.read()
        same = random_states.read() == data
        first = draw(); draw()
        waiting = random_states.put_back(data)
        show([same, draw() == first, waiting, random_states.read() != data, random_states.trouble])
    """) == [True, True, [], True, {}]


def test_put_back_at_the_first_import(each_python, tmp_path):
    """A state waits for its library, is put back right after the import, and nothing else is seen of it."""
    assert each_python("""
        import subprocess
        make = "import random, numpy as np, sys; from keepstate._capture import random_states as r;" \\
            "random.seed(3); np.random.seed(4); np.random.rand(5); sys.stdout.write(r.read().decode());" \\
            "sys.stderr.write(repr([random.random(), float(np.random.rand())]))"
        made = subprocess.run([sys.executable, "-c", make], capture_output=True, text=True)
        before = list(sys.meta_path)
        waiting = random_states.put_back(made.stdout.encode())
        carried = json.loads(random_states.read()) == json.loads(made.stdout) or "random" in waiting
        assert "numpy" not in sys.modules
        hidden = len(sys.meta_path) - len(before)
        import random
        import numpy as np
        import numpy.random
        loader = type(np.random.__spec__.loader).__name__, "exec_module" in vars(np.random.__spec__.loader)
        found = repr([random.random(), float(np.random.rand())])
        show([waiting, hidden, carried, sys.meta_path == before, loader, found == made.stderr,
              random_states.trouble])
    """)[1:] == [1, True, True, ["SourceFileLoader", False], True, {}]


def test_waiting_states_are_carried_on(scenario):
    """A state for a library that is never imported here belongs to every later reading."""
    assert scenario("""
        state = {"format": 1, "states": {"torch": {"bytes": "AAAA"}, "unheard": {"x": 1}}}
        waiting = random_states.put_back(json.dumps(state).encode())
        states = json.loads(random_states.read())["states"]
        show([waiting, states["torch"], states["unheard"]])
    """) == [["torch"], {"bytes": "AAAA"}, {"x": 1}]


def test_a_state_that_does_not_fit_breaks_nothing(scenario):
    """A state that a library refuses is told, and neither the call nor an import fails."""
    assert scenario("""
        state = {"format": 1, "states": {"numpy.random": {"values": {"bit_generator": "MT19937"}}}}
        random_states.put_back(json.dumps(state).encode())
        import numpy as np
        np.random.rand()
        show(list(random_states.trouble))
    """) == ["numpy.random"]


def test_another_bit_generator_comes_back(scenario):
    """A global generator that the user replaced is the same kind again, with the same stream."""
    assert scenario("""
        import numpy as np
        if not hasattr(np.random, "set_bit_generator"):
            show("skip")
            raise SystemExit
        np.random.set_bit_generator(np.random.PCG64(5))
        np.random.rand(3)
        data = random_states.read()
        expected = np.random.rand(4).tolist()
        np.random.set_bit_generator(np.random.MT19937(1))
        random_states.put_back(data)
        show([np.random.rand(4).tolist() == expected, random_states.trouble])
    """) in ("skip", [True, {}])


def test_a_failed_import_is_tried_again(scenario, tmp_path):
    """An import that fails leaves the state waiting for the one that succeeds."""
    assert scenario("""
        from pathlib import Path
        Path("torch.py").write_text("raise ImportError('broken')")
        state = {"format": 1, "states": {"torch": {"bytes": "AQID"}}}
        random_states.put_back(json.dumps(state).encode())
        try:
            import torch
        except ImportError:
            pass
        import importlib
        Path("torch.py").write_text("uint8 = 1; got = []\\ntensor = lambda data, dtype, device: data\\n"
            "def set_rng_state(s): got.append(s)\\n"
            "def get_rng_state():\\n  class T: tolist = lambda s: [1]\\n  return T()\\n"
            "class cuda:\\n  is_initialized = lambda: False\\n")
        importlib.invalidate_caches()
        import torch
        show([torch.got, random_states.trouble])
    """) == [[[1, 2, 3]], {}]


def test_a_newer_format_is_refused():
    """Bytes of a newer version are an error that says to upgrade."""
    with pytest.raises(FormatError, match="upgrade"):
        random_states.put_back(json.dumps({"format": 2, "states": {}}).encode())


def test_what_draws_in_an_undisturbed_body_draws_none_of_the_users_numbers(scenario):
    """Nor does a library that is imported there, whose state had waited for it."""
    assert scenario("""
        import random
        from pathlib import Path
        Path("torch.py").write_text("uint8 = 1; got = [[0]]\\ntensor = lambda data, dtype, device: data\\n"
            "def set_rng_state(s): got.append(s)\\n"
            "def get_rng_state():\\n  class T: tolist = lambda s: got[-1]\\n  return T()\\n"
            "class cuda:\\n  is_initialized = lambda: False\\n")
        state = {"format": 1, "states": {"torch": {"bytes": "AQID"}}}
        random_states.put_back(json.dumps(state).encode())
        import numpy as np
        random.seed(3); np.random.seed(3)
        expected = random.Random(3).random(), np.random.RandomState(3).rand()
        with random_states.undisturbed():
            random.random()
            np.random.rand(7)
            import torch
            torch.set_rng_state([9])
        show([(random.random(), np.random.rand()) == expected, torch.got[-1]])
    """) == [True, [1, 2, 3]]
