"""Tensors are data: a storage, and where in it their numbers are."""

from __future__ import annotations

import pytest

from keepstate import codecs
from keepstate.codecs import _calls
from keepstate.errors import KeepstateError, TrustError
from tests.codecs.streams import as_anything, as_data, calls, dumps, group_of, read
from tests.codecs.test_data_only import ROWS, Reduces, hostile, kind

torch = pytest.importorskip("torch")

TENSORS = {
    "plain": lambda: torch.arange(5000.0),
    "strided": lambda: torch.arange(12.0).reshape(3, 4).T[1:],
    "expanded": lambda: torch.ones(1, 3).expand(4, 3),
    "bfloat16": lambda: torch.ones(3, dtype=torch.bfloat16),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "bool": lambda: torch.tensor([True, False]),
    "scalar": lambda: torch.tensor(3),
    "empty": lambda: torch.empty(0, 3, dtype=torch.int16),
    "empty view": lambda: torch.arange(5)[2:2],
    "leaf": lambda: torch.ones(2, requires_grad=True),
    "parameter": lambda: torch.nn.Parameter(torch.ones(2)),
    "frozen parameter": lambda: torch.nn.Parameter(torch.ones(2), requires_grad=False),
}


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("read", [as_data, as_anything])
def test_a_tensor_is_data(name, read):
    """It comes back with kind, layout and whether it is trained; no function of torch's is named."""
    tensor = TENSORS[name]()
    assert not [call for call in calls(tensor) if "torch" in call]
    back = read(tensor)
    assert type(back) is type(tensor)
    assert (back.dtype, back.shape, back.stride()) == (tensor.dtype, tensor.shape, tensor.stride())
    assert (back.storage_offset(), back.requires_grad) == (tensor.storage_offset(), tensor.requires_grad)
    assert torch.equal(back, tensor)


def test_tensors_share_memory_as_before():
    """A view of a tensor is one again, and so is an array over it."""
    base = torch.zeros(5000)
    back = as_data({"base": base, "view": base[10:20], "array": base.numpy()})
    back["view"][0] = 1
    assert back["base"][10] == back["array"][10] == 1


def test_a_gradient_comes_with_its_tensor():
    """The next step adds to it."""
    weight = torch.nn.Parameter(torch.ones(3))
    (weight * 2).sum().backward()
    back = as_data(weight)
    assert back.grad.tolist() == [2, 2, 2]
    (back * 3).sum().backward()
    assert back.grad.tolist() == [5, 5, 5]


def test_a_sparse_tensor_that_is_trained_is_so_again():
    """torch's own pickle makes a constant of it."""
    weights = torch.eye(2).to_sparse().requires_grad_()
    torch.sparse.mm(weights, torch.ones(2, 2)).sum().backward()
    back = as_anything(weights)
    assert back.requires_grad
    assert torch.equal(back.grad.to_dense(), weights.grad.to_dense())


@pytest.mark.parametrize("note", [None, "mine"])
def test_hooks_come_with_their_tensor(note):
    """The next step is what it would have been; a handle takes away what it took, and a new hook nothing."""
    weight = torch.nn.Parameter(torch.ones(2))
    if note:
        weight.note = note
    handle = weight.register_hook(_tenfold)
    weight.register_post_accumulate_grad_hook(_clear)
    group = group_of(weight, handle=handle)
    torch.utils.hooks.RemovableHandle.next_id = 0  # as in a new process
    back = read(group, data_only=False)
    seen = back["x"]
    seen.register_hook(torch.neg)
    (seen * 1).sum().backward()
    assert (CLEARED.pop().tolist(), seen.grad) == ([-10, -10], None)
    back["handle"].remove()
    assert list(seen._backward_hooks.values()) == [torch.neg]
    with pytest.raises(TrustError):
        read(group, data_only=True)


CLEARED = []


def _tenfold(gradient):
    return gradient * 10


def _clear(tensor):
    CLEARED.append(tensor.grad)
    tensor.grad = None


def test_tensors_come_back_whatever_device_is_the_default():
    """A notebook may have set another one before they are restored, or while they are kept."""
    tensors = {"large": torch.arange(2000.0), "small": torch.arange(3), "none": torch.empty(0, 2)}
    group = group_of(tensors)
    torch.set_default_device("meta")
    try:
        assert calls(tensors["large"]) == {"namespace", "tensor", "untyped_storage"}
        back = read(group, data_only=True)["x"]
    finally:
        torch.set_default_device(None)
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_arrays_over_parts_of_a_tensor_share_with_it():
    """``numpy()`` gives arrays of which none owns the memory."""
    tensor = torch.zeros(5000)
    back = as_data([tensor[10:20].numpy(), tensor.numpy(), tensor[15:].numpy()])
    back[1][15] = 1
    assert back[0][5] == back[2][0] == 1


def test_the_weights_of_a_model_are_data():
    """``state_dict()`` is what most people keep; a model itself is code."""
    model = torch.nn.Linear(3, 2)
    weights = model.state_dict()
    back = as_data(weights)
    assert torch.equal(back["weight"], model.weight)
    assert back._metadata == weights._metadata
    torch.nn.Linear(3, 2).load_state_dict(back)
    with pytest.raises(TrustError, match=r"x \(torch.nn.modules.linear.Linear\)"):
        as_data(model)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.eye(2).to_sparse(),
        lambda: torch.ones(2, dtype=torch.complex64).conj(),
        lambda: torch.ones(2, dtype=torch.complex64).conj().imag,
        lambda: torch.ones(2, device="meta"),
        lambda: _named(torch.ones(2)),
    ],
    ids=["sparse", "conjugate", "negative", "meta", "attribute"],
)
def test_what_is_more_than_numbers_goes_the_way_of_torch(make):
    """It is kept as before, and is no data."""
    tensor = make()
    back = as_anything(tensor)
    assert (back.layout, back.is_conj(), back.is_neg(), vars(back)) == (
        tensor.layout, tensor.is_conj(), tensor.is_neg(), vars(tensor)
    )  # fmt: skip
    with pytest.raises(TrustError):
        as_data(tensor)


def _named(tensor):
    tensor.note = "mine"
    return tensor


def stored(*args):
    """Write the call ``tensor`` over a storage of 16 bytes."""
    storage = Reduces(_calls.named("untyped_storage"), (0, 16))
    return dumps({"x": Reduces(_calls.named("tensor"), (storage, *args))})


@pytest.mark.parametrize(
    "body",
    [
        stored("float32", 2, (3,), (1,), False, False, None),
        stored("float32", 0, (2,), (4,), False, False, None),
        stored("float32", 4, (2,), (-1,), False, False, None),
        stored("float32", -1, (2,), (1,), False, False, None),
        stored("float32", 0, (2, 2), (1,), False, False, None),
        stored("float32", 0, (-2,), (1,), False, False, None),
        stored("load", 0, (2,), (1,), False, False, None),
        stored("float32", 0, (2,), (1,), False, False, "text"),
        dumps({"x": Reduces(_calls.named("tensor"), (None, "float32", 0, (9,), (1,), 0, 0, None))}),
        dumps({"x": Reduces(_calls.named("tensor"), ([], "float32", 0, (9,), (1,), 0, 0, None))}),
        dumps({"x": Reduces(_calls.named("untyped_storage"), (0, 1 << 40))}),
        dumps({"x": Reduces(_calls.named("untyped_storage"), (7, 8))}),
        dumps({"x": Reduces(_calls.named("tensor"), (kind("f8"), "f8", 0, (), (), 0, 0, None))}),
    ],
    ids=range(13),
)
def test_a_tensor_outside_of_its_memory_is_refused(body):
    """Whatever the stream says, nothing is shown that was not kept."""
    with pytest.raises(KeepstateError):
        codecs.decode(hostile(body, layout=ROWS), namespace={}, data_only=True)


def test_the_name_of_a_dtype_imports_nothing():
    """For some names torch would import a part of itself."""
    body = stored("onnx", 0, (2,), (1,), False, False, None)
    assert "onnx" not in vars(torch)
    with pytest.raises(KeepstateError, match="no numbers of the kind"):
        codecs.decode(hostile(body, layout=ROWS), namespace={}, data_only=True)
    assert "onnx" not in vars(torch)


def closure_of(model, optimizer):
    """What a step of LBFGS asks for."""

    def loss():
        optimizer.zero_grad()
        value = model(torch.ones(1, 2)).square().sum()
        value.backward()
        return value

    return loss


def test_an_optimizer_that_has_set_more_than_torch_keeps_steps():
    """LBFGS has a list of its parameters beside that of its groups."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.LBFGS(model.parameters())
    optimizer.step(closure_of(model, optimizer))
    again, other = as_anything([model, optimizer])
    assert other._params[0] is again.weight
    for each, step in ((model, optimizer), (again, other)):
        step.step(closure_of(each, step))
    assert torch.equal(model.weight, again.weight)


def test_hooks_of_an_optimizer_come_with_it():
    """Each step calls them; a new one takes the place of none."""
    model, seen = torch.nn.Linear(1, 1), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    torch.utils.hooks.RemovableHandle.next_id = 0  # as in a new process
    again, told = as_anything([optimizer, seen])
    again.register_step_pre_hook(lambda *_: told.append("before"))
    again.register_step_post_hook(lambda *_: told.append("last"))
    again.step()
    assert told == ["before", "after", "last"]
