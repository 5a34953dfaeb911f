"""How the CRDT engine's Python interface surprises, and what hostile input does to it.

As in `test_engine_facts`, each test states what was observed; the rules that follow from it are screening before the
engine, our own value bytes, one owner thread, and no observers.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from typing import Any

import pycrdt
import pytest
from pycrdt import Doc, Encoder, Map, UndoManager

from tests.unit.core.engine_site import HIGH, LOW, NO_BLOCKS_NO_DELETES, entries, site


class TestInterface:
    @pytest.mark.parametrize(
        ("given", "back"), [(1, 1.0), ((1.5, 2.5), [1.5, 2.5]), (b"x", bytearray(b"x")), (2**63 - 1, float(2**63))]
    )
    def test_values_change_type_or_digits(self, given: object, back: object) -> None:
        source, other = site(LOW), site(HIGH)
        source.map["k"] = given
        other.take([source.doc.get_update()])
        got = other.map["k"]
        assert got == back
        assert type(got) is type(back)
        assert type(got) is not type(given)

    def test_a_value_too_large_panics_past_except_exception(self) -> None:
        one = site(LOW)
        with pytest.raises(BaseException, match="OverflowError") as caught:
            one.map["k"] = 2**64
        assert not isinstance(caught.value, Exception)

    def test_text_counts_utf8_bytes_and_takes_an_insert_past_the_end(self) -> None:
        one = site(LOW)
        one.text.insert(0, "é😀")
        assert len(one.text) == 6
        one.text.insert(100, "Z")
        assert str(one.text) == "é😀Z"

    def test_an_exception_in_a_transaction_commits(self) -> None:
        one = site(LOW)

        def write_then_fail() -> None:
            with one.doc.transaction():
                one.map["k"] = b"written"
                raise KeyError

        with pytest.raises(KeyError):
            write_then_fail()
        assert entries(one.map) == {"k": b"written"}

    def test_a_refused_update_may_have_been_applied_in_part(self) -> None:
        one = site(LOW)
        # Client 5: text "😀" under key x (valid), then a nested root whose parent is that text's second half.
        update = bytes.fromhex("01 02 05 00  24 01 01 6d 01 78 04 f0 9f 98 80  07 00 05 01 04  01 05 01 02 01")
        with pytest.raises(RuntimeError):
            one.doc.apply_update(update)
        assert len(one.map) == 1

    def test_observer_of_a_dropped_wrapper_is_silent(self) -> None:
        doc: Doc[Any] = Doc(client_id=LOW)
        heard: list[object] = []
        doc.get("m", type=Map).observe(heard.append)
        doc.get("m", type=Map)["k"] = b"v"
        assert heard == []

    def test_writing_in_an_observer_raises_after_the_commit(self) -> None:
        one = site(LOW)

        def write(event: object) -> None:
            one.map["second"] = b"2"

        subscription = one.map.observe(write)
        with pytest.raises(ExceptionGroup, match="Observer callback"):
            one.map["first"] = b"1"
        assert entries(one.map) == {"first": b"1"}
        one.map.unobserve(subscription)

    def test_a_second_thread_joins_the_open_transaction(self) -> None:
        doc: Doc[Any] = Doc(client_id=LOW, allow_multithreading=True)
        root = doc.get("m", type=Map)
        joined: list[bool] = []
        with doc.transaction() as outer:

            def intrude() -> None:
                with doc.transaction() as inner:
                    joined.append(inner is outer)
                    root["k"] = b"from the other thread"

            thread = threading.Thread(target=intrude)
            thread.start()
            thread.join(timeout=10)
        assert joined == [True]
        assert entries(root) == {"k": b"from the other thread"}

    def test_the_codec_counts_characters_and_takes_truncation(self) -> None:
        encoder = Encoder()
        encoder.write_var_string("é")
        assert encoder.to_bytes() == b"\x01" + "é".encode()
        assert pycrdt.read_message(b"\x05ab") == b"ab"

    def test_setting_an_equal_value_emits_an_update(self) -> None:
        one = site(LOW)
        one.map["k"] = b"v"
        one.map["k"] = b"v"
        assert len(one.emitted) == 2

    @pytest.mark.parametrize(("origin", "left"), [(None, {}), ("remote", {"k": b"remote"})])
    def test_undo_takes_back_remote_edits_that_carry_no_origin(
        self, origin: str | None, left: dict[str, bytes]
    ) -> None:
        remote, one = site(HIGH), site(LOW)
        remote.map["k"] = b"remote"
        undo = UndoManager(scopes=[one.map])
        with one.doc.transaction(origin=origin):
            one.doc.apply_update(remote.doc.get_update())
        undo.undo()
        assert entries(one.map) == left

    def test_a_delete_set_erases_what_no_block_of_the_update_names(self) -> None:
        one = site(LOW)
        one.map["k"] = b"v"
        one.doc.apply_update(b"\x00\x01\x01\x01\x00\x01")  # no blocks; one client: one range of one item at clock 0
        assert entries(one.map) == {}


def run_engine(script: str, *, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    program = "from pycrdt import Array, Doc, Map, Text\n" + script
    return subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=timeout_s, check=False)


class TestHostileInput:
    def test_nested_values_kill_the_process(self) -> None:
        block = "bytes([1, 1, 5, 0, 0x28, 1, 1]) + b'm' + bytes([1]) + b'k' + bytes([1])"
        script = f"Doc(client_id=1).apply_update({block} + bytes([117, 1]) * DEPTH + bytes([126, 0]))"
        shallow = run_engine(script.replace("DEPTH", "3"), timeout_s=60)
        deep = run_engine(script.replace("DEPTH", "200_000"), timeout_s=60)
        assert shallow.returncode == 0, shallow.stderr
        assert deep.returncode in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS)

    def test_reading_a_text_of_emoji_as_an_array_does_not_end(self) -> None:
        script = (
            "doc = Doc(client_id=1)\n"
            "doc['r'] = Text({text!r})\n"
            "array = doc.get('r', type=Array)\n"
            "print('reading', flush=True)\n"
            "print(array.to_py(), flush=True)\n"
        )
        assert b"'a', 'b'" in run_engine(script.format(text="ab"), timeout_s=60).stdout
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            run_engine(script.format(text="😀"), timeout_s=4)
        assert caught.value.stdout == b"reading\n"

    def test_a_collected_block_in_anothers_name_takes_its_place(self) -> None:
        victim, hub = site(5), site(LOW)
        victim.map["k"] = b"important"
        hub.take([b"\x01\x01\x05\x00\x00\x01\x00"])  # client 5, clock 0: a garbage-collected block of length 1
        assert victim.doc.get_update(hub.doc.get_state()) == NO_BLOCKS_NO_DELETES, "nothing is left to push"
        hub.take([victim.doc.get_update()])
        victim.take([hub.doc.get_update()])
        assert entries(hub.map) == entries(victim.map) == {}

    def test_malformed_input_panics_past_except_exception(self) -> None:
        update = bytes.fromhex("02  01 05 00 08 01 01 6d 01 78  01 05 00 00 03  01 06 01 02 03")
        with pytest.raises(BaseException, match=r".") as caught:
            site(LOW).doc.apply_update(update)
        assert not isinstance(caught.value, Exception)

    def test_an_accepted_update_may_make_the_document_unreadable_for_ever(self) -> None:
        one = site(LOW)
        one.map["k"] = b"v"
        one.doc.apply_update(bytes.fromhex("01010801000000"))  # client 8, clock 1: a collected block of no length
        with pytest.raises(BaseException, match="divide by zero") as caught:
            one.doc.get_update()
        assert not isinstance(caught.value, Exception)

    def test_some_corrupted_updates_decode_to_other_valid_changes(self) -> None:
        source = site(5)
        source.map["x"] = b"one"
        source.text.insert(0, "hello")
        update, rng = source.doc.get_update(), random.Random(7)
        outcomes: list[str] = []
        for _ in range(400):
            position = rng.randrange(len(update))
            flipped = bytes([update[position] ^ 1 << rng.randrange(8)])
            outcomes.append(outcome(update[:position] + flipped + update[position + 1 :], expected=source.content()))
        assert outcomes.count("refused") > 100
        assert outcomes.count("changed") > 20


def outcome(update: bytes, *, expected: tuple[str, dict[str, bytes]]) -> str:
    one = site(LOW)
    try:
        one.doc.apply_update(update)
    except ValueError:
        return "refused"
    return "same" if one.content() == expected else "changed"
