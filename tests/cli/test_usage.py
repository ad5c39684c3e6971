"""``keepstate usage``."""

from stores import files


def test_by_member_and_project(keepstate, team):
    """Every member has an entry with its projects."""
    found = keepstate("usage", "--store", team, "--json").document
    assert {each["member"]: sorted(each["projects"]) for each in found} == {"ana": ["p", "q"], "ben": ["p"]}


def test_bytes_of_files(keepstate, team):
    """The bytes of a member are those of the files in its folder."""
    found = keepstate("usage", "--store", team, "--member", "ana", "--json").document
    there = sum(each.stat().st_size for each in files(team / "members" / "ana", ""))
    assert [each["nbytes"] for each in found] == [there]


def test_one_project(keepstate, team):
    """``--project`` leaves members and projects out that are not asked for."""
    found = keepstate("usage", "--store", team, "--project", "q", "--json").document
    assert [(each["member"], list(each["projects"])) for each in found] == [("ana", ["q"])]


def test_text(keepstate, team):
    """The table has a line for each project of each member."""
    lines = [line.split()[:3] for line in keepstate("usage", "--store", team).out.splitlines()]
    assert ["ana", "q", "1"] in lines
