"""Installing keepstate on a host changes nothing of what the host's image has."""

from pathlib import Path

import pytest

IMAGES = Path(__file__).resolve().parents[1] / "data" / "images"

ADDED = {
    "colab-2025-07": {"apscheduler", "blake3", "msgspec", "obstore", "watchdog"},
    "colab-2026-07": {"apscheduler", "blake3", "msgspec", "obstore"},
    "colab-2026-07-tpu": {"apscheduler", "blake3", "blosc2", "msgspec", "obstore", "watchdog"},
    "colab-2026-08": {"apscheduler", "blake3", "msgspec", "obstore"},
    "colab-2026-08-gpu": {"apscheduler", "blake3", "msgspec", "obstore"},
    "colab-2026-08-tpu": {"apscheduler", "blake3", "blosc2", "msgspec", "obstore", "watchdog"},
    "kaggle-2026-06": {"apscheduler", "msgspec", "obstore"},
}
"""Image → what keepstate asks for and the image lacks; what those ask for in turn changes with releases."""


NEWEST = {"colab-2026-08", "kaggle-2026-06"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.stem, marks=() if path.stem in NEWEST else pytest.mark.torture)
        for path in sorted(IMAGES.glob("*.txt"))
    ],
)
def test_installing_changes_nothing_of_an_image(name, script, wheel, install_into):
    """Pip adds what the image lacks, and neither upgrades nor downgrades what it has."""
    image = script.read_image(IMAGES / f"{name}.txt")
    would = install_into(image, wheel)
    assert would.names & image.versions.keys() == set()
    assert would.direct == ADDED[name]


def test_a_floor_above_an_image_is_noticed(script, wheel, install_into):
    """An image whose version is below keepstate's floor has that package in pip's plan."""
    image = script.read_image(IMAGES / "kaggle-2026-06.txt")
    image.versions["psutil"] = "5.9.4"
    assert install_into(image, wheel).names & image.versions.keys() == {"psutil"}
