"""The public calls, and the one session that a kernel has. Composes what the layers below offer."""

from __future__ import annotations

import atexit
import os
import random
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from keepstate._results import running
from keepstate.errors import InvalidInputError, SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keepstate._model.diff import Diff
    from keepstate._model.snapshot import RestoreReport, Snapshot, Status
    from keepstate._notebook import IPythonKernel
    from keepstate._results.store import Results
    from keepstate._session.rebuilding import RebuildPlan
    from keepstate._session.script import ScriptKernel
    from keepstate._session.session import Session

_session: Session | None = None
_arguments: dict[str, object] = {}
"""Those with which it was started."""


def start(
    *,
    project: str | None = None,
    store: str | os.PathLike[str] | None = None,
    member: str | None = None,
    notebook: str | None = None,
    track: str | Iterable[object] = (),
    restore: str = "auto",
    interval: float = 60.0,
    limits: Mapping[str, float | None] | None = None,
    namespace: dict[str, object] | None = None,
    **policy: object,
) -> Session:
    """Bring back what was kept, and guard this notebook from now on.

    Binds the names of the newest sound snapshot that the namespace lacks, puts random states back, and saves
    after every cell, every *interval* seconds inside long ones, ahead of the host's deadlines, when memory
    runs out, and when the interpreter ends. Prints whose state this is and what came back. Called again with
    the same arguments it returns the running session. ``keepstate.toml``, or ``[tool.keepstate]`` in
    ``pyproject.toml``, stands in for arguments that are left out.

    Args:
        project: Whose state, first part; else ``default``.
        store: Folder that holds the state, or an address such as ``s3://bucket/folder`` or
            ``gdrive://folder``; else ``KEEPSTATE_STORE``, else what the host offers, else ``~/.keepstate``.
            Where it is an address or a mounted folder, state is kept on this machine first and sent there by
            a process of its own; ``status()`` says how far that is.
        member: Whose state, second part; else the account that the host names, else ``me``.
        notebook: Whose state, third part; else what the host calls it, else ``notebook``.
        track: Names to guard, bound already or later, or objects that are; ``"all"`` for every variable.
        restore: ``"eager"`` brings everything back before this returns. ``"lazy"`` has it come afterwards, in
            a notebook: a cell that reaches a name waits for it, and so does the rest of this cell. ``"auto"``
            is lazy in a notebook for 16 MiB or more, and else eager. ``"off"`` brings nothing back.
        interval: Seconds between two saves inside a long cell, 0.1 to 604800; more where saves are dear.
        limits: ``idle_seconds`` and ``lifetime_seconds`` of this machine, 1 or more, where you know them
            better than the host's profile; ``None``: there is no such limit.
        namespace: The variables to guard; else those of the notebook or script.
        **policy: ``capture``: ``"auto"``, ``"fork"`` or ``"stage"``, how pictures may be taken;
            ``keep_last``: how many snapshots of this notebook stay, 1 or more (default: by their age);
            ``budget``: what this member may take at the store, bytes or ``"5GB"``;
            ``dirty_pages``: whether the kernel is asked what memory was written to, where it tells, instead
            of hashing all of it (default: yes);
            ``notify``: address of a webhook that is told of deadlines, failing saves and the end.

    Raises:
        InvalidInputError: An argument is out of its range.
        IdentityError: The store may be shared, and it is not said whose state this is.
        SessionError: A session with other arguments is running.
        NotAStoreError: The store is a file, or a folder that holds something else.
        StoreError: The store cannot be written.
        FormatError: A newer version has written it.
    """
    global _session, _arguments
    given: dict[str, object] = {
        "project": project,
        "store": None if store is None else os.fspath(store),
        "member": member,
        "notebook": notebook,
        "track": _things(track),
        "restore": restore,
        "interval": interval,
        "limits": limits,
        **policy,
    }
    asked = {**given, "track": _comparable(given["track"]), "namespace": id(namespace)}
    if _session is not None and _session.active:
        if asked != _arguments:
            different = ", ".join(
                sorted(k for k in asked.keys() | _arguments if asked.get(k) != _arguments.get(k))
            )
            raise SessionError(
                f"a session is running with other arguments ({different}): call keepstate.stop() first, "
                "or start() with the same ones"
            )
        return _session
    _session, _arguments = _begin(given, namespace), asked
    return _session


def _things(track: object) -> str | tuple[object, ...]:
    if isinstance(track, str):
        return track
    if not isinstance(track, Iterable):
        raise InvalidInputError(f"track={track!r}: give a name, or a list of names and objects")
    return tuple(track)


def _comparable(track: object) -> object:
    """Tell objects by identity: two frames cannot be compared for one answer."""
    return tuple(t if isinstance(t, str) else id(t) for t in track) if isinstance(track, tuple) else track


def _begin(given: dict[str, object], namespace: dict[str, object] | None) -> Session:
    _load()
    from keepstate._base.clock import SYSTEM_CLOCK
    from keepstate._notebook import IPythonKernel
    from keepstate._repository import Repository
    from keepstate._session import trust
    from keepstate._session.advice import first_run_help, has_internet, mounted_drive
    from keepstate._session.credentials import gather_credentials
    from keepstate._session.far_side import FarSide
    from keepstate._session.identity import identify, is_shared
    from keepstate._session.near import near_folder
    from keepstate._session.session import Session
    from keepstate._session.surroundings import look_around

    kernel = _kernel(namespace)
    around = look_around(kernel.namespace)
    options, host = around.options(given), around.host
    things = around.tracked(given)
    store = options.store
    is_far = not store.is_folder or is_shared(store.path)
    identity = identify(
        project=options.project,
        member=options.member,
        notebook=options.notebook,
        host=host,
        shared=is_far,
    )
    if around.names_store(given["store"]):
        trust.must_be_the_users(store, around)
    near = near_folder(store) if is_far else store.path
    repository = Repository.open(near, create=True)
    far = None
    internet = has_internet(host)
    if is_far:
        gathered = gather_credentials(store, host=host, environ=os.environ, internet=internet)
        for remark in gathered.remarks:
            kernel.say(f"keepstate: {remark}")
        far = FarSide(store, near, gathered.credentials, identity, options, kernel, SYSTEM_CLOCK)
    trust.remember(store, repository)
    session = Session(
        kernel=kernel, host=host, identity=identity, options=options, repository=repository, far=far
    )
    session.names.expect([thing for thing in things if isinstance(thing, str)])
    session.track(*(thing for thing in things if not isinstance(thing, str)))
    if isinstance(kernel, IPythonKernel):
        kernel.attach(session)
        kernel.offer_keep(_running_results)
        session.on_stop(kernel.detach)
    session.begin()
    atexit.register(session.stop, reason="exit")
    session.on_stop(lambda: atexit.unregister(session.stop))
    kernel.say(f"keepstate guards {identity} in {store}")
    advice = first_run_help(
        host,
        store=store,
        shared=is_far and store.is_folder,
        near=str(near),
        drive=mounted_drive(),
        given=around.names(given),
        internet=internet,
    )
    if advice is not None:
        kernel.say(advice)
    if around.settings.path is not None:
        kernel.say(f"keepstate: settings of {around.settings.path}")
    if session.restored is not None:
        kernel.say(str(session.restored))
    return session


def _load() -> None:
    """Import what a session needs: 0.3 s that ``import keepstate`` alone must not cost.

    Here and not when it is first used, for two reasons. A child that imports while another thread did would
    wait for ever. And some of it (rich, which blosc2 brings) draws from ``random`` when it is imported: the
    user's next number must be the one that it would have been.
    """
    state = random.getstate()
    try:
        from keepstate._repository import (
            cutting,  # noqa: F401 - only to have it
            load_compression,
        )

        load_compression()
    finally:
        random.setstate(state)


def _kernel(namespace: dict[str, object] | None) -> IPythonKernel | ScriptKernel:
    from keepstate._notebook import IPythonKernel, running_shell
    from keepstate._session.script import ScriptKernel

    shell = running_shell()
    if shell is not None and (namespace is None or namespace is shell.user_ns):
        return IPythonKernel(shell)
    return ScriptKernel(vars(sys.modules["__main__"]) if namespace is None else namespace)


def _running() -> Session:
    if _session is None or not _session.active:
        raise SessionError("no session is running: call keepstate.start() first")
    return _session


def track(*things: object, recipe: object = None, **named: object) -> tuple[str, ...]:
    """Guard these names from now on, and return all that are guarded now.

    A name is tracked, not an object: after ``df = df.dropna()`` the new frame is kept.

    Args:
        *things: Objects, each of which some variable holds; names of variables as texts; or ``"all"``.
        recipe: What makes the object anew where it cannot be kept, such as a connection: a function without
            arguments, or ``{name: function}`` for several names. It is kept like any function, and called at
            the next start, in your own notebook alone, once what it uses is there; or before the first cell
            that reaches the name. An object that can be kept is kept, and its recipe is not called. Given
            alone, ``track(recipe=object)`` tracks a variable of that name.
        **named: ``name=object``: binds the name if it is free, and tracks it.

    Raises:
        UntrackableError: No variable holds that object, or anything could hold such a value.
        NotFoundError: There is no variable of that name.
        InvalidInputError: The name is bound to another object, or is no name; or the recipe cannot be called
            without arguments, or it is not clear for which name it is.
        SessionError: No session is running.
    """
    return _running().track(*things, recipe=recipe, **named)


def untrack(*names: str) -> None:
    """Guard these names no longer; older snapshots keep them.

    Raises:
        NotFoundError: One of them is not tracked; nothing is changed then.
        SessionError: No session is running.
    """
    _running().untrack(*names)


def watch(path: str | os.PathLike[str], *, ignore: Iterable[str] = (), max_bytes: int | None = None) -> str:
    """Keep the files of a folder with every snapshot, and return the name under which it is tracked.

    Files are taken once they are no longer written to; a file that is being written keeps its last version.
    ``start()`` in the next session writes those that are missing, and never touches one that is there.
    ``restore("outputs/")`` does the same, and replaces older ones.

    Args:
        path: Relative to the working directory, or absolute. It need not exist yet.
        ignore: What to leave out, like ``"*.tmp"`` or ``"cache/"``.
        max_bytes: Longest file that is kept; 2 GiB if left out.

    Raises:
        InvalidInputError: It is a file, the home folder or the whole disk, or a rule is wrong.
        SessionError: No session is running.
    """
    return _running().watch(path, ignore=ignore, max_bytes=max_bytes)


def unwatch(path: str | os.PathLike[str]) -> None:
    """Keep the files of this folder no longer; older snapshots do.

    Raises:
        NotFoundError: It is not watched.
        SessionError: No session is running.
    """
    _running().unwatch(path)


def snapshot(note: str = "", *, wait: bool = True) -> Snapshot:
    """Keep the state as it is now.

    Unchanged state writes nothing and returns the last snapshot; with a *note* it writes that alone.

    Args:
        note: Shown in lists, any text.
        wait: Return when it is committed; else at once, with ``durability="pending"``.

    Raises:
        NotFoundError: Nothing is tracked, or no tracked name is bound.
        CaptureError: No picture could be taken, or nothing in it could be kept.
        StoreError: The store failed. What was kept before is untouched.
        SessionError: No session is running.
    """
    return _running().snapshot(note, wait=wait)


def snapshots() -> list[Snapshot]:
    """List what is kept of this notebook, newest first, of all its sessions.

    Raises:
        SessionError: No session is running.
        StoreError: The store cannot be read.
    """
    return _running().snapshots()


def restore(*names: str, at: object = None, overwrite: bool = True) -> RestoreReport:
    """Bind kept values in the notebook; they are tracked again.

    Args:
        *names: Which; none: all of the snapshot, and the random states with them.
        at: A Snapshot, its id or a unique beginning of it, an aware datetime (the newest until then), or
            ``"cell"`` (the newest taken between cells); ``None``: the newest.
        overwrite: Whether a variable that is there may be replaced.

    Raises:
        NotFoundError: There is no such snapshot, or it has no such name.
        AmbiguousError: More than one snapshot begins with that id.
        InvalidInputError: *at* is none of the above, or a datetime without a time zone.
        SessionError: No session is running.
    """
    return _running().restore(*names, at=at, overwrite=overwrite)


def load(name: str, *, at: object = None, member: str | None = None, data_only: bool = False) -> object:
    """Return a kept value, and bind nothing.

    Args:
        name: Which.
        at: As in :func:`restore`.
        member: Whose; only this session's own in this version.
        data_only: Whether to refuse what runs code when it is read, as unpickling does: for a store that
            others can write to. Plain values, arrays, frames, Arrow, sparse matrices and tensors are data.

    Raises:
        NotFoundError: There is no such snapshot, or it has no such name.
        IntegrityError: Its bytes are damaged.
        CodecError: It cannot be decoded here, e.g. because its library is missing.
        TrustError: It is more than data, and that was not wanted.
        SessionError: No session is running.
    """
    return _running().load(name, at=at, member=member, data_only=data_only)


def diff(a: object, b: object = "now", *names: str) -> Diff:
    """Say what was added, removed, rebound or changed between two states, name by name.

    Nothing is bound and nothing is written. For ``"now"`` the live values of tracked names are compared as a
    snapshot would find them; names that are not tracked are out of scope.

    Args:
        a: The earlier state: what *at* of :func:`restore` accepts, or ``"now"``.
        b: The later one.
        *names: Which; none: all that are in either.

    Returns:
        A table of the names that differ: ``rebound`` to another kind of object, or ``changed``, with shape,
        dtype, columns, length and bytes. Unchanged names are counted.

    Raises:
        NotFoundError: There is no such snapshot, or neither state has one of *names*.
        AmbiguousError: More than one snapshot begins with that id.
        InvalidInputError: *a* or *b* is none of the above, or a datetime without a time zone.
        IntegrityError: A snapshot's names cannot be read.
        CaptureError: Live values cannot be looked at where the call stands.
        SessionError: No session is running.
    """
    return _running().diff(a, b, *names)


def get(name: str, make: Callable[[], object]) -> object:
    """Return the kept value of *name*, or *make* it; it is bound and tracked from then on.

    The idiom that makes "Run all" after a reconnect cheap: ``model = keepstate.get("model", build)``.

    Raises:
        InvalidInputError: *name* is no name that a notebook can bind.
        SessionError: No session is running.
    """
    return _running().get(name, make)


def rebuild(*names: str, run: bool = False) -> RebuildPlan:
    """Show what makes missing names again: their recipes, or the least set of recorded cells, in order.

    Nothing runs until the plan's ``run()`` is called. It replaces nothing that is there: whatever else a cell
    binds is put back, and what it may change in place it is given as a copy. Which names a cell reads, binds
    and changes is told by its code; what a library does to its arguments is not seen, so read the plan.

    Args:
        *names: Which; none: all that the last session had and that could not be brought back.
        run: Run the plan at once.

    Returns:
        The plan, with a text and an HTML form; its ``report`` says what came of it.

    Raises:
        InvalidInputError: One of them is no name that a notebook can bind.
        RebuildError: With *run*: it is not the main thread that calls.
        SessionError: No session is running.
    """
    return _running().rebuild(*names, run=run)


def status() -> Status:
    """Say how things stand: the newest snapshot, where it is, and the newest trouble.

    Raises:
        SessionError: No session is running.
    """
    return _running().status()


def _running_results() -> Results | None:
    if _session is not None and _session.forked_off:
        return None  # a worker of the user's: what it calls runs, and is not kept
    return _running().results


running.find_by(_running_results)


def cache(
    function: Callable[..., object] | None = None,
    *,
    ignore: Iterable[str] | None = None,
    verbose: int = 0,
    cache_validation_callback: Callable[[dict[str, Any]], bool] | None = None,
) -> Any:
    """Keep the results of a heavy function: it does not run again for what it has been called with before.

    ``@keepstate.cache`` above the function, or ``@keepstate.cache(ignore=["verbose"])``. Results are kept in
    the store beside the state of the notebook, for all notebooks of the project. They are found in later
    sessions and, where the store is far, on other machines. The decorated function has the methods of joblib:
    ``f.check_call_in_cache(…)``, ``f.call_and_shelve(…)``, ``f.call(…)`` and ``f.clear()``.

    A kept result is used only if nothing has changed that the call can be seen to depend on: its arguments
    with their types, layout and order; its code and that of each function and class of the notebook behind
    it; the values of the notebook's variables that these read; files of your own modules; the minor version
    of Python, and the versions of the libraries that it uses. What comes back is checked against a digest of
    what was kept, and is a fresh object each time.

    **It runs each time, and says so once** (a :class:`~keepstate.errors.NotKeptWarning`) if that cannot be
    told, as with ``eval`` or ``globals()``; if it changes its arguments or a variable of the notebook, draws
    from the global random numbers, or gives back what it was given; if its result cannot be stored, as a
    generator or a connection; or if the store is full or fails. Nothing of that is ever raised.

    **What is not seen**: files that it reads by itself, and classes that a pickle names; the network, the
    clock, fresh entropy, the environment and settings of libraries. And what it prints or writes is not done
    again. Where these matter, *cache_validation_callback* says when a result has had its time. A function
    that trains from the global random numbers is kept once it has a generator of its own, or
    ``random_state=…``.

    Args:
        function: What is decorated.
        ignore: Names of arguments that do not count.
        verbose: 1 prints each call that runs, and for how long, as joblib does; 0 nothing.
        cache_validation_callback: Is given ``{"duration", "time", "input_args"}`` of a kept result and says
            whether it may be used, as ``joblib.expires_after(days=1)``.

    Raises:
        InvalidInputError: That is no function, or, when it is called, *ignore* names what is no argument.
        SessionError: When it is called: no session is running.
    """
    if function is None:
        return lambda decorated: cache(
            decorated, ignore=ignore, verbose=verbose, cache_validation_callback=cache_validation_callback
        )
    given: object = function
    if not callable(given) or isinstance(given, type):
        raise InvalidInputError(f"keepstate.cache decorates a function, and {function!r} is none")
    if isinstance(ignore, str):
        raise InvalidInputError(f"ignore={ignore!r}: give a list of names")
    if cache_validation_callback is not None and not callable(cache_validation_callback):
        raise InvalidInputError(f"cache_validation_callback={cache_validation_callback!r}: give a function")
    from keepstate._capture import random_states

    with random_states.undisturbed():  # joblib draws some when it is imported
        from keepstate._results.memorized import KeptFunction
    if isinstance(function, KeptFunction):
        function = function.func
    return KeptFunction(
        function,
        ignore=None if ignore is None else list(ignore),
        verbose=verbose,
        cache_validation_callback=cache_validation_callback,
    )


def finish(*, release: bool = True) -> Status:
    """Take a last snapshot, wait until everything is proven to be at the store, and end the session.

    For the last cell of a notebook that works alone. On Colab the machine is given back then, which ends the
    kernel and stops the count of its hours; only ever once the far side has acknowledged every byte, or,
    where the store is on mounted Drive, once Drive has pushed all that its mount holds (which unmounts it).

    Args:
        release: Whether the machine may be given back, where the host has a call for that.

    Returns:
        How things stood at the end.

    Raises:
        StoreError: Not everything has reached the store yet; the session goes on, and so does the sending.
        CaptureError: The last picture could not be taken.
        SessionError: No session is running.
    """
    return _running().finish(release=release)


def stop(*, snapshot: bool = True) -> None:
    """End the session, after one last snapshot.

    Raises:
        StoreError: The last snapshot could not be written; the session has ended all the same.
        SessionError: No session is running.
    """
    _running().stop(snapshot=snapshot)
