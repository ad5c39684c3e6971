"""What a snapshot says of the versions that made it, and which differences are told when it is restored."""

import platform

import msgspec
import numpy as np
import pandas as pd
import pytest
from standing_still import Saver

from keepstate._repository import Repository
from keepstate._snapshot import Loader, restore_names, version_remarks


@pytest.fixture
def repository(tmp_path):
    return Repository.open(tmp_path / "store", create=True)


def test_python_platform_and_the_packages_of_the_objects_are_recorded(repository):
    """Not those that are imported and made none of them."""
    saved = Saver(repository).save({"frame": pd.DataFrame({"a": [1]}), "n": {"x": np.arange(3)}})
    versions = saved.commit.manifest.versions
    assert versions["python"] == platform.python_version()
    assert platform.machine() in versions["platform"]
    assert versions["pandas"] == pd.__version__
    assert versions["numpy"] == np.__version__
    assert "sklearn" not in versions
    assert "json" not in versions


def test_plain_values_need_no_package(repository):
    """Python and platform alone are recorded."""
    saved = Saver(repository).save({"x": [1, {"a": "b"}]})
    assert set(saved.commit.manifest.versions) == {"python", "platform"}


def restored_elsewhere(saved, **versions):
    manifest = saved.commit.manifest
    return msgspec.structs.replace(manifest, versions={**manifest.versions, **versions})


def test_another_python_is_told_where_there_is_code(repository):
    """For values alone it makes no difference, so nothing is said."""
    values = Saver(repository).save({"x": [1]})
    assert version_remarks(restored_elsewhere(values, python="3.2.0")) == []
    space = {"__name__": "__main__"}
    exec("def double(x): return 2 * x", space)
    code = Saver(repository, lineage="b" * 16).save({"double": space["double"]}, space)
    (said,) = version_remarks(restored_elsewhere(code, python="3.2.0"))
    assert said.startswith("Kept under Python 3.2.0")


def test_another_patch_of_python_is_not_told(repository):
    """Byte code is the same."""
    minor = ".".join(platform.python_version().split(".")[:2])
    saved = Saver(repository).save({"f": test_plain_values_need_no_package})
    assert version_remarks(restored_elsewhere(saved, python=f"{minor}.99")) == []


def test_another_major_version_of_a_package_is_told(repository):
    """And of pandas what becomes of texts; another minor version is not."""
    saved = Saver(repository).save({"frame": pd.DataFrame({"a": [1]})})
    (said,) = version_remarks(restored_elsewhere(saved, pandas="1.5.0"))
    assert said.startswith("Kept with pandas 1.5.0")
    major = pd.__version__.split(".")[0]
    assert version_remarks(restored_elsewhere(saved, pandas=f"{major}.99.0")) == []


def test_extended_numbers_of_another_processor_are_refused(repository):
    """Each kind lays them out in its own way, in as many bytes: other arrays come back."""
    state = {
        "extended": np.arange(3, dtype="g"),
        "within": np.zeros(2, [("a", "i4"), ("b", "g")]),
        "view": np.arange(9, dtype="G")[::2],
        "scalar": [np.longdouble(1)],
        "plain": np.arange(3.0),
    }
    saved = Saver(repository).save(state)
    elsewhere = restored_elsewhere(saved, platform="Linux some-other-machine")
    outcome = restore_names(Loader(repository, elsewhere, {}), state)
    assert outcome.restored.keys() == {"plain"}
    assert all("another layout" in why for why in outcome.failed.values())
    here = restore_names(Loader(repository, saved.commit.manifest, {}), state)
    assert here.failed == {}
    assert here.restored["extended"].dtype == np.longdouble
