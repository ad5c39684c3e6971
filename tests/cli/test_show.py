"""``keepstate show``."""

from stores import files, save, snapshot_id, spoil

from keepstate._model.manifest import Entry
from keepstate._model.snapshot import Where
from keepstate._repository import Repository


def test_unique_beginning(keepstate, store):
    """The beginning of an id is enough where no other id has it."""
    assert keepstate("show", "02", "--store", store, "--json").document["id"] == snapshot_id(2)


def test_ambiguous_beginning(keepstate, store):
    """A beginning that several ids have is wrong usage, and the ids are named."""
    found = keepstate("show", "0", "--store", store)
    assert found.code == 2
    assert snapshot_id(1) in found.err


def test_unknown_id(keepstate, store):
    """An id that is not there is wrong usage."""
    found = keepstate("show", "ff", "--store", store, "--json")
    assert (found.code, found.document["kind"]) == (2, "not-found")


def test_empty_id(keepstate, tmp_path):
    """An empty id names nothing, also where there is but one snapshot."""
    save(tmp_path / "store", {"x": 1})
    assert keepstate("show", "", "--store", tmp_path / "store").code == 2


def test_scope_decides(keepstate, team):
    """A beginning that is ambiguous in the store may be unique for one member."""
    assert keepstate("show", "0", "--store", team, "--member", "ben", "--json").document["id"] == snapshot_id(
        3
    )


def test_types_and_sizes(keepstate, store):
    """Every name has its type and its size."""
    entries = keepstate("show", "01", "--store", store, "--json").document["entries"]
    assert entries["array"]["type"] == "numpy.ndarray"
    assert entries["array"]["logical_bytes"] >= 48


def test_skipped(keepstate, store):
    """What was not kept is named with the reason."""
    found = keepstate("show", "01", "--store", store)
    assert "lock" in keepstate("show", "01", "--store", store, "--json").document["skipped"]
    assert "_thread.lock" in found.out


def test_shared_objects_are_told(keepstate, store):
    """Names that share objects are said to, because their sizes are one."""
    assert "frame, holder share objects" in keepstate("show", "01", "--store", store).out


def test_cells(keepstate, store):
    """The cells that had run are there with number and source, and shown by their first lines."""
    document = keepstate("show", "01", "--store", store, "--json").document
    assert document["cells"][0] == {"number": 1, "source": "import numpy as np\nnp.arange(3)"}
    shown = keepstate("show", "01", "--store", store).out
    assert "import numpy as np" in shown
    assert "np.arange(3)" not in shown


def test_versions(keepstate, store):
    """The versions under which it was taken are there."""
    assert "python" in keepstate("show", "01", "--store", store, "--json").document["versions"]


def test_carried_name(keepstate, tmp_path):
    """A name that was carried says in which snapshot its value was kept, also in a narrow terminal."""
    path = tmp_path / "store"
    first = save(path, {"model": [1]}, number=1)
    kind = "package_of_somebody.module_with_a_very_long_name.submodule.Estimator"
    kept = Entry(first.names["model"].group, kind, 10, kept_in=first.id)
    save(path, {"x": 1}, number=2, carried={"model": kept}, pending={"model": "its library is missing"})
    document = keepstate("show", "02", "--store", path, "--json").document
    assert document["entries"]["model"]["kept_in"] == snapshot_id(1)
    shown = keepstate("show", "02", "--store", path, COLUMNS="40").out
    assert snapshot_id(1) in shown
    assert "its library is missing" in " ".join(shown.split())


def test_place_inside_a_cell(keepstate, tmp_path):
    """A state inside a cell says which cell and line."""
    save(tmp_path / "store", {"x": 1}, consistency="statement", where=Where(7, 3))
    found = keepstate("show", "01", "--store", tmp_path / "store")
    assert "inside cell [7], line 3" in found.out


def test_damaged_record_of_cells(keepstate, tmp_path):
    """Where the record of cells is damaged the rest is shown, and the exit code says that not all is well."""
    path = tmp_path / "store"
    manifest = save(path, {"x": 1}, cells=[(1, "x = 1")])
    repository = Repository.open(path, create=False)
    raw = repository.read(manifest.cells, member="ana")
    pack = next(each for each in files(path, ".pack") if raw in each.read_bytes())
    pack.write_bytes(pack.read_bytes().replace(raw, bytes(len(raw))))
    found = keepstate("show", "01", "--store", path)
    assert found.code == 1
    assert "record of the cells" in found.err
    assert snapshot_id(1) in found.out


def test_damaged_manifest_is_not_found(keepstate, tmp_path):
    """A snapshot whose manifest is damaged cannot be shown."""
    save(tmp_path / "store", {"x": 1}, number=1)
    spoil(files(tmp_path / "store", ".manifest")[0])
    assert keepstate("show", "01", "--store", tmp_path / "store").code == 2
