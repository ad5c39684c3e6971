"""Pages are given back only where nobody will read them again."""

from __future__ import annotations


def test_releases_what_is_inside_and_alone(scenario):
    """After release, whole pages inside the buffer are gone and every other byte is as it was."""
    assert scenario("""
        import mmap
        from keepstate._capture.mappings import Mappings
        from keepstate._capture.pages import Pages
        page = mmap.PAGESIZE
        memory = mmap.mmap(-1, 64 * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory[:] = b"x" * (64 * page)
        view = memoryview(memory)
        a, b, c = view[100 : 10 * page + 50], view[10 * page + 50 : 20 * page], view[15 * page : 30 * page]
        pages = Pages(Mappings.read())
        pages.claim([a, b, c])
        def gone():
            return [n for n in range(64) if view[n * page : (n + 1) * page] == bytes(page)]
        seen = []
        pages.release(view[40 * page : 50 * page]); seen.append(gone())     # never claimed
        pages.release(a[: 3 * page]); seen.append(gone())
        pages.release(a); pages.release(b); pages.release(c); seen.append(gone())
        known = (bytes(page), b"x" * page)
        whole = [n for n in range(64) if bytes(view[n * page : (n + 1) * page]) not in known]
        show(seen + [whole])
    """) == [[], [1, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9, *range(11, 15), *range(20, 30)], []]


def test_twice_the_same_buffer_is_never_released(scenario):
    """A buffer that two objects show stays, because the second still has to be read."""
    assert (
        scenario("""
        from keepstate._capture.mappings import Mappings
        from keepstate._capture.pages import Pages
        import numpy as np
        array = np.ones(1_000_000, dtype=np.uint8)
        pages = Pages(Mappings.read())
        pages.claim([memoryview(array), memoryview(array), memoryview(array)[5000:60000]])
        pages.release(memoryview(array))
        show(int(array.sum()))
    """)
        == 1_000_000
    )


def test_shared_and_mapped_memory_is_never_released(scenario):
    """Dropping pages of a shared mapping or a file would lose the user's data; they stay."""
    assert scenario("""
        import mmap
        from keepstate._capture.mappings import Mappings
        from keepstate._capture.pages import Pages
        shared = mmap.mmap(-1, 1 << 20); shared[:] = b"s" * (1 << 20)
        with open("data", "wb+") as file:
            file.write(b"f" * (1 << 20)); file.flush()
            private = mmap.mmap(file.fileno(), 1 << 20, access=mmap.ACCESS_COPY)
        private[:] = b"p" * (1 << 20)
        pages = Pages(Mappings.read())
        views = [memoryview(shared), memoryview(private)]
        pages.claim(views)
        for view in views:
            pages.release(view)
        show([shared[:] == b"s" * (1 << 20), private[:] == b"p" * (1 << 20)])
    """) == [True, True]


def test_the_parent_keeps_its_memory(scenario):
    """What the child gives back is still there in the user's process, and costs it no copy."""
    assert scenario("""
        import numpy as np, resource
        array = np.ones(64 << 20, dtype=np.uint8)
        class Give(Keep):
            def prepare(self, tools):
                view = memoryview(array)
                tools.claim([view])
                self.total = sum(view[:: 1 << 20])
                tools.release(view)
                tools.progress("given", 1)
            def write(self, tools):
                while not os.path.exists("go"):
                    time.sleep(0.01)
                return b"%d" % self.total
        taken = fork.take(Give(None), reason="")
        while taken._watch._channel.board.read().name != "given":
            time.sleep(0.01)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        array += 1
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        open("go", "w").close()
        show([taken.finish().decode(), int(array[:: 1 << 20].sum()), faults < 20_000, faults])
    """)[:2] == ["64", 128]
