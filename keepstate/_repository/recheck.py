"""Just before a commit: is everything that the snapshot needs there, and about to stay?

Knows catalogs and manifests; decides, and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstate._repository.reach import Reach, Step, groups_of
from keepstate.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from keepstate._model.manifest import Manifest
    from keepstate._repository.catalog import Catalog


def may_rely(catalog: Catalog, manifest: Manifest, *, given: AbstractSet[bytes]) -> bool:
    """Say whether *manifest* may be committed.

    Args:
        catalog: Read after all packs of this save had their names.
        manifest: What is to be committed.
        given: Ids of all chunks that this save has written or found.
    """
    if not all(catalog.has(own) for own in given):
        return False
    return not any(_is_condemned(catalog, own) for own in _carried(catalog, manifest, given))


def _carried(catalog: Catalog, manifest: Manifest, given: AbstractSet[bytes]) -> set[bytes]:
    """Chunks that the manifest names and the save was not given: of names carried by reference.

    What is missing or damaged among them was so before; it must not keep the other names from being saved.
    """
    reach = Reach(catalog.reader(), remember=False)
    _, refs = reach.roots(manifest)
    found: set[bytes] = set()
    seen: set[Step] = set()
    try:
        found.update(own for ref in refs if ref.id not in given for own in reach.ref(ref).chunks)
    except StoreError:
        pass  # not to be read today: it is carried as it is
    for step in groups_of(manifest):
        try:
            if step.id not in given:
                found.update(own for _, each in reach.walk([step], seen=seen) for own in each.chunks)
        except StoreError:
            continue  # likewise
    return found


def _is_condemned(catalog: Catalog, own: bytes) -> bool:
    copies = list(catalog.locate(own))
    return bool(copies) and all(each.pack_id in catalog.condemned for each in copies)
