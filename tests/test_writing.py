"""Files are written whole or not at all, over regular files only, and leave nothing behind."""

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from skfairlatent._files import writing as _writing
from skfairlatent._files.writing import replace_file, require_folder

NOT_POSIX = os.name != "posix"


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test__replace_file__keeps_the_old_one_when_writing_fails(tmp_path, error, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(_):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)):
        replace_file(path, b"new", "The file")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.skipif(NOT_POSIX, reason="needs POSIX modes")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test__replace_file__keeps_the_mode_of_what_was_there(tmp_path, mode):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    replace_file(path, b"new", "The file")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(NOT_POSIX, reason="needs POSIX modes")
def test__replace_file__keeps_a_private_file_private_while_it_writes(tmp_path, monkeypatch):
    path, modes, sync = tmp_path / "file", [], os.fsync
    path.touch(mode=0o600)

    def look(descriptor):
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    replace_file(path, b"new", "The file")
    assert modes == [0o600]


@pytest.mark.skipif(NOT_POSIX, reason="needs POSIX modes")
def test__replace_file__a_new_file_is_as_readable_as_any_other(tmp_path):
    usual = tmp_path / "usual"
    usual.touch()
    replace_file(tmp_path / "file", b"new", "The file")
    assert (tmp_path / "file").stat().st_mode == usual.stat().st_mode


@pytest.mark.skipif(NOT_POSIX, reason="needs links")
@pytest.mark.parametrize("exists", [True, False])
def test__replace_file__a_link_stays_one_and_leads_to_the_new_content(tmp_path, exists):
    (tmp_path / "models").mkdir()
    target, link = tmp_path / "models" / "v1", tmp_path / "latest"
    if exists:
        target.write_text("old")
    link.symlink_to("models/v1")
    replace_file(link, b"new", "The file")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert names_in(tmp_path / "models") == ["v1"]


@pytest.mark.skipif(NOT_POSIX, reason="needs pipes")
@pytest.mark.parametrize("through_link", [False, True])
def test__replace_file__refuses_what_is_no_file_and_leaves_it(tmp_path, through_link):
    node = path = tmp_path / "node"
    os.mkfifo(node)
    if through_link:
        path = tmp_path / "link"
        path.symlink_to(node)
    with pytest.raises(OSError, match=r"The file was not written\. This is a pipe, a device or a"):
        replace_file(path, b"new", "The file")
    assert node.is_fifo()
    with pytest.raises(OSError, match="This is a pipe, a device"):
        replace_file(os.devnull, b"new", "The file")
    with pytest.raises(IsADirectoryError, match="This is a folder: pass the path of a file in it"):
        replace_file(tmp_path, b"new", "The file")


@pytest.mark.skipif(NOT_POSIX, reason="needs links")
def test__replace_file__says_that_a_link_leads_in_a_circle(tmp_path):
    path = tmp_path / "loop"
    path.symlink_to(path)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        replace_file(path, b"new", "The file")
    assert path.is_symlink()


def test__replace_file__home_is_written_as_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    replace_file("~/file", b"new", "The file")
    assert (tmp_path / "file").read_bytes() == b"new"


def test__replace_file__takes_long_names_of_many_bytes(tmp_path):
    path = tmp_path / ("\N{GREEK SMALL LETTER ALPHA}" * 120)
    replace_file(path, b"new", "The file")
    assert names_in(tmp_path) == [path.name]


# The file alone: its package would import torch for seconds.
KILLED = """
import os, runpy, sys
def die(_): os._exit(9)
os.fsync = die
runpy.run_path(sys.argv[1])["replace_file"](sys.argv[2], bytes(100), "The file")
"""


def test__replace_file__deletes_what_a_killed_process_left(tmp_path):
    path = tmp_path / "file[1]"  # a pattern, to glob
    command = [sys.executable, "-c", KILLED, _writing.__file__, str(path)]
    assert subprocess.run(command, check=False).returncode == 9  # noqa: S603
    assert len(names_in(tmp_path)) == 1
    other = tmp_path / ".file[1].notes.tmp"
    other.touch()
    replace_file(path, b"new", "The file")
    assert names_in(tmp_path) == [other.name, path.name]


def test__replace_file__leaves_what_another_process_is_writing(tmp_path, monkeypatch):
    path, sync, found = tmp_path / "file", os.fsync, []

    def write_another(descriptor):
        monkeypatch.setattr(os, "fsync", sync)
        replace_file(path, b"second", "The file")
        found.append(names_in(tmp_path))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", write_another)
    replace_file(path, b"first", "The file")
    assert len(found[0]) == 2
    assert path.read_bytes() == b"first"
    assert names_in(tmp_path) == ["file"]


def test__replace_file__many_writers_of_one_file(tmp_path):
    path, failures = tmp_path / "file", []

    def write(content):
        try:
            for _ in range(20):
                replace_file(path, content, "The file", durable=False)
        except OSError as error:
            failures.append(error)

    contents = [bytes([i]) * 1000 for i in range(4)]
    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert path.read_bytes() in contents
    assert names_in(tmp_path) == ["file"]


def test__replace_file__a_full_disk_says_how_much_room_is_needed(tmp_path):
    """The limit on a file's size is a disk with room for so many bytes, without being root."""
    resource = pytest.importorskip("resource", reason="needs POSIX limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(OSError, match=r"The file was not written.*make room for 5000 bytes"):
            replace_file(tmp_path / "file", bytes(5000), "The file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert names_in(tmp_path) == []


def test__require_folder__makes_it_and_leaves_nothing_in_it(tmp_path):
    assert require_folder("cache_dir", tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert names_in(tmp_path / "a" / "b") == []


def test__require_folder__says_what_is_wrong(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="cache_dir is a file, or is in one"):
        require_folder("cache_dir", tmp_path / "file" / "folder")
    with pytest.raises(ValueError, match="cache_dir='' is not the path"):
        require_folder("cache_dir", "")
