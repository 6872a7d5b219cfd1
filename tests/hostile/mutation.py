"""Changes of bytes as wires and attackers make them: bits, bytes, cuts, copies, numbers at their bounds."""

from __future__ import annotations

from hypothesis import strategies as st

EDGES = (0, 1, 2, 4, 6, 16, 52, 53, 82, 127, 128, 254, 255)


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with one to six changes."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(out) - 1)))
        match draw(st.integers(0, 6)):
            case 0 if out:
                out[at] ^= 1 << draw(st.integers(0, 7))
            case 1 if out:
                out[at] = draw(st.sampled_from(EDGES))
            case 2:
                del out[at:]
            case 3:
                del out[at : at + draw(st.integers(1, 40))]
            case 4:
                out[at:at] = draw(st.binary(min_size=1, max_size=20))
            case 5:
                out[at:at] = out[at : at + draw(st.integers(1, 300))]
            case _:
                out += out[: draw(st.integers(0, 600))]
    return bytes(out[:9400])
