"""Packets for engines, byte by byte against what was written by hand from their formats."""

import struct
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusiontalker.arkit import CHANNELS, INDEX
from diffusiontalker.bridge import ifacialmocap, livelink, vmc
from diffusiontalker.bridge.livelink import LiveLink, timecode
from diffusiontalker.errors import UserError

MOMENT = datetime(2024, 5, 6, 1, 2, 3, 510_000)


def face(**values: float) -> np.ndarray:
    made = np.zeros(52, np.float32)
    for name, value in values.items():
        made[INDEX[name]] = value
    return made


# Live Link Face


def test_a_live_link_packet_is_as_unreal_reads_it() -> None:
    values = {"eyeBlinkLeft": 0.75, "jawLeft": 0.5, "jawOpen": 1.0, "mouthLeft": 0.25}
    (packet,) = LiveLink("Ann", 30)(face(**values, tongueOut=0.125), MOMENT)
    device, rest = packet[5:41], packet[41:]
    assert packet[:5].hex() == "06" + "00000024"  # version, and 36 characters
    assert device.decode().count("-") == 4
    assert rest[:7].hex() == "00000003" + "416e6e"  # Ann
    # 3723.51 s at 30 fps: frame 111705 and three tenths; 30/1 frames per second; 61 values.
    assert rest[7:24].hex() == "0001b459" + "3e99999a" + "0000001e" + "00000001" + "3d"
    floats = {0: "3f400000", 15: "3f000000", 17: "3f800000", 21: "3e800000", 51: "3e000000"}
    assert rest[24:].hex() == "".join(floats.get(place, "00000000") for place in range(61))


def test_live_link_has_the_order_of_unreals_enum() -> None:
    # EARFaceBlendShape
    names = """
    EyeBlinkLeft EyeLookDownLeft EyeLookInLeft EyeLookOutLeft EyeLookUpLeft EyeSquintLeft
    EyeWideLeft EyeBlinkRight EyeLookDownRight EyeLookInRight EyeLookOutRight EyeLookUpRight
    EyeSquintRight EyeWideRight JawForward JawLeft JawRight JawOpen MouthClose MouthFunnel
    MouthPucker MouthLeft MouthRight MouthSmileLeft MouthSmileRight MouthFrownLeft MouthFrownRight
    MouthDimpleLeft MouthDimpleRight MouthStretchLeft MouthStretchRight MouthRollLower
    MouthRollUpper MouthShrugLower MouthShrugUpper MouthPressLeft MouthPressRight
    MouthLowerDownLeft MouthLowerDownRight MouthUpperUpLeft MouthUpperUpRight BrowDownLeft
    BrowDownRight BrowInnerUp BrowOuterUpLeft BrowOuterUpRight CheekPuff CheekSquintLeft
    CheekSquintRight NoseSneerLeft NoseSneerRight TongueOut
    """.split()
    assert list(livelink.CURVES) == names
    numbers = np.arange(52, dtype=np.float32)
    (packet,) = LiveLink("Ann", 60)(numbers, MOMENT)
    sent = np.frombuffer(packet[-61 * 4 :], ">f4")
    for name, value in zip(names, sent[:52], strict=True):
        assert value == INDEX[name[0].lower() + name[1:]]
    assert not sent[52:].any()


def test_a_subject_is_the_same_device_from_run_to_run() -> None:
    def head(subject: str) -> bytes:
        return LiveLink(subject, 30)(face(), MOMENT)[0][:41]

    assert head("Ann") == head("Ann") != head("Bob")


@pytest.mark.parametrize("subject", ["", "a" * 65, "Änne", "a\nb", "a\0b"])
def test_a_subject_that_unreal_might_not_read_is_refused(subject: str) -> None:
    with pytest.raises(UserError, match="64"):
        LiveLink(subject, 30)


@pytest.mark.parametrize(
    ("moment", "fps", "expected"),
    [
        (datetime(2024, 1, 1), 30, (0, 0.0)),
        (datetime(2024, 1, 1, 0, 0, 1), 60, (60, 0.0)),
        (datetime(2024, 1, 1, 0, 0, 0, 50_000), 30, (1, 0.5)),
        (datetime(2024, 1, 1, 23, 59, 59, 999_999), 30, (2_592_000, 0.0)),
    ],
)
def test_a_timecode_counts_from_midnight(
    moment: datetime, fps: int, expected: tuple[int, float]
) -> None:
    assert timecode(moment, fps) == expected


@given(st.datetimes(), st.sampled_from([30, 60]))
def test_the_next_frame_has_the_next_number(moment: datetime, fps: int) -> None:
    _, rest = timecode(moment, fps)
    assert 0 <= rest < 1
    # As float32 too, which is what the packet holds.
    assert struct.unpack("!f", struct.pack("!f", rest))[0] < 1
    later = moment.replace(hour=12) + timedelta(seconds=1 / fps)
    before, after = timecode(moment.replace(hour=12), fps), timecode(later, fps)
    assert sum(after) - sum(before) == pytest.approx(1, abs=2e-3)


# VMC


def test_a_vmc_frame_is_osc_as_the_protocol_has_it() -> None:
    first, *_, last = vmc.packets(face(browDownLeft=0.5, tongueOut=1.0), MOMENT)
    bundle = b"#bundle\0" + bytes.fromhex("0000000000000001")  # at once
    value = b"/VMC/Ext/Blend/Val\0\0" + b",sf\0"
    assert first.startswith(
        bundle
        + bytes.fromhex("0000002c")  # 44 bytes
        + value + b"BrowDownLeft\0\0\0\0" + bytes.fromhex("3f000000")
        + bytes.fromhex("0000002c")
        + value + b"BrowDownRight\0\0\0" + bytes(4)
    )  # fmt: skip
    assert last.startswith(bundle)
    assert last.endswith(
        bytes.fromhex("00000028")
        + value + b"TongueOut\0\0\0" + bytes.fromhex("3f800000")
        + bytes.fromhex("0000001c")
        + b"/VMC/Ext/Blend/Apply\0\0\0\0" + b",\0\0\0"
    )  # fmt: skip


def osc_strings(packet: bytes) -> list[tuple[str, str | None, float | None]]:
    """Address, name and value of every message of a bundle; read by the format alone."""
    found, at = [], 16
    while at < len(packet):
        (size,) = struct.unpack_from("!i", packet, at)
        message, at = packet[at + 4 : at + 4 + size], at + 4 + size
        address, tags, *rest = [part for part in message.split(b"\0") if part][:3]
        if tags == b",":
            found.append((address.decode(), None, None))
        else:
            (value,) = struct.unpack("!f", message[-4:])
            found.append((address.decode(), rest[0].decode(), value))
    return found


def test_a_vmc_frame_says_every_value_once_and_then_applies_them() -> None:
    values = np.random.default_rng(0).random(52).astype(np.float32)
    packets = vmc.packets(values, MOMENT)
    assert max(len(packet) for packet in packets) <= 1200  # whole in one packet of any network
    *said, applied = [message for packet in packets for message in osc_strings(packet)]
    assert applied == ("/VMC/Ext/Blend/Apply", None, None)
    assert {address for address, _, _ in said} == {"/VMC/Ext/Blend/Val"}
    expected = {
        f"{name[0].upper()}{name[1:]}": v for name, v in zip(CHANNELS, values.tolist(), strict=True)
    }
    assert len(said) == 52
    assert {name: value for _, name, value in said} == expected


# iFacialMocap


def test_an_ifacialmocap_frame_is_the_line_of_its_page_for_developers() -> None:
    (packet,) = ifacialmocap.packets(face(mouthSmileLeft=0.114, jawOpen=1.2, jawLeft=-0.1), MOMENT)
    shapes, rest = packet.decode().split("=")
    assert rest == "head#0.0,0.0,0.0,0.0,0.0,0.0|rightEye#0.0,0.0,0.0|leftEye#0.0,0.0,0.0|"
    *said, nothing = shapes.split("|")
    assert nothing == ""
    values = dict(one.rsplit("-", 1) for one in said)
    moved = {name: value for name, value in values.items() if value != "0"}
    assert moved == {"mouthSmile_L": "11", "jawOpen": "100"}
    # The names of the page's example.
    assert sorted(values) == sorted(
        """
        mouthSmile_R eyeLookOut_L mouthUpperUp_L eyeWide_R mouthClose mouthPucker mouthRollLower
        eyeBlink_R eyeLookDown_L cheekSquint_R eyeBlink_L tongueOut jawRight eyeLookIn_R
        cheekSquint_L mouthDimple_L mouthPress_L eyeSquint_L mouthRight mouthShrugLower eyeLookUp_R
        eyeLookOut_R mouthPress_R cheekPuff jawForward mouthLowerDown_L mouthFrown_L
        mouthShrugUpper browOuterUp_L browInnerUp mouthDimple_R browDown_R mouthUpperUp_R
        mouthRollUpper mouthFunnel mouthStretch_R mouthFrown_R eyeLookDown_R jawOpen jawLeft
        browDown_L mouthSmile_L noseSneer_R mouthLowerDown_R noseSneer_L eyeWide_L mouthStretch_L
        browOuterUp_R eyeLookIn_L eyeSquint_R eyeLookUp_L mouthLeft
        """.split()
    )
