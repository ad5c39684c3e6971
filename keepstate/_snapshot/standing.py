"""Groups whose memory stands as it was: what one save need not encode, and what the next one need not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstate._capture import SLOW_SECONDS, Worth
from keepstate._repository import Piece

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keepstate._capture import Imprints, Tools
    from keepstate._capture.imprint.look import Imprint
    from keepstate._model.parts import EncodedGroup


class Standing:
    """The imprints of one picture.

    Args:
        imprints: Those of the session.
        bindings: name → object to keep.
        tools: Of the way in which the picture was taken.
        known: Fingerprints of the last snapshot → chunk id.
        seed: Of the fingerprints.
    """

    def __init__(
        self,
        imprints: Imprints | None,
        bindings: Mapping[str, object],
        tools: Tools,
        *,
        known: Mapping[bytes, bytes],
        seed: int,
    ) -> None:
        self._stood = frozenset[tuple[str, ...]]() if imprints is None else imprints.whole
        looked_at = [] if imprints is None else imprints.look(bindings, tools, seed=seed)
        self._known = known
        self.found: list[Imprint] = [
            each for each in looked_at if all(fingerprint in known for fingerprint, _ in each.head.pieces)
        ]
        """Of groups whose memory is what it was, or is known for the first time."""
        self._by_names = {each.names: each for each in self.found}
        self.worth: list[Worth] = []
        """What the session must know for the next picture."""
        self.saved_seconds = 0.0
        """How long it would have taken to encode what was not."""

    def pieces(self, group: EncodedGroup) -> list[Piece] | None:
        """Return the pieces of a stream that was not written again; ``None`` if it was."""
        if not group.unchanged:
            return None
        imprint = self._by_names[_names(group)]
        return [
            Piece(fingerprint, length, None, self._known[fingerprint])
            for fingerprint, length in imprint.head.pieces
        ]

    def encoded(self, group: EncodedGroup, stream: Sequence[Piece], seconds: float) -> None:
        """Note what came of a group.

        Args:
            group: As the codecs gave it.
            stream: Its pieces.
            seconds: Of processor time, if it was encoded.
        """
        names = _names(group)
        imprint = self._by_names.get(names)
        if group.unchanged and imprint is not None:
            self.saved_seconds += imprint.head.encode_seconds
            self.worth.append(imprint.worth)
            return
        plain = not group.parts and all(member.role == "variable" for member in group.members)
        # What stood until now will stand again; what has not yet must have come out the same once.
        steady = names in self._stood or all(piece.memory is None for piece in stream)
        if not (plain and steady) or seconds < SLOW_SECONDS:
            return
        if imprint is None:
            self.worth.append(Worth(list(names), seconds))
        elif group.facts is not None and imprint.keep(
            group.facts, [(piece.fingerprint, piece.length) for piece in stream], seconds
        ):
            self.worth.append(imprint.worth)


def _names(group: EncodedGroup) -> tuple[str, ...]:
    return tuple(sorted(member.name for member in group.members))
