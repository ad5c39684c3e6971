"""Tensors of a device, seen from a machine that has none: a storage that only says where it is."""

from __future__ import annotations

import pytest

STORAGE = """
import torch
class UntypedStorage:
    def __init__(self, real, device): self.real, self.device = real, torch.device(device)
    def nbytes(self): return self.real.nbytes()
    def data_ptr(self): return self.real.data_ptr()
    def cpu(self): return self.real.clone()
UntypedStorage.__module__ = 'torch.storage'
one, other = torch.arange(2000.0).untyped_storage(), torch.ones(2000).untyped_storage()
"""


def test_what_was_on_a_device_is_on_the_processor_where_there_is_none(notebook):
    """With its bytes, shared by whatever shared it on the device, in one name or in two."""
    pytest.importorskip("torch")
    notebook.run(STORAGE)
    notebook.run("a = [UntypedStorage(one, 'cuda:0'), UntypedStorage(one, 'cuda:0')]")
    notebook.run("b = (UntypedStorage(one, 'cuda:0'), UntypedStorage(other, 'cuda:0'))")
    notebook.run("c = UntypedStorage(one, 'cuda:1')")
    notebook.encode("a", "b", "c")
    assert notebook.group_of("a") == ["a", "b"]
    notebook.check("""
import torch
assert all(type(s) is torch.UntypedStorage and s.device.type == 'cpu' for s in (*a, *b, c))
assert a[0] is a[1] and a[0] is b[0] and a[0] is not c
assert torch.tensor([]).set_(a[0])[7] == 7 and torch.tensor([]).set_(b[1])[7] == 1
""")
