"""What SEAL's compressed bytes hold, looked at before SEAL reads it.

Inside what SEAL writes stand sections with headers of their own, never compressed. One that claims to be is unpacked by
SEAL too, and where it is no good SEAL ends the whole process. SEAL's own zstd, which is part of TenSEAL's library,
unpacks the bytes here, no further than to the announced size; SEAL then gets them as they are.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from types import ModuleType
from typing import Any

from secagg.errors import DecodeError

__all__ = ["HEADER_BYTES", "SECRET_KEY_FIELDS", "unpacked"]

HEADER_BYTES = 16
"""SEAL's header: magic 2, its size 1, version 2, compression 1, nothing 2, size of the whole 8."""

_CIPHERTEXT_FIELDS = 32 + 1 + 5 * 8
"""What stands before the first section of a ciphertext, or of a public key."""

SECRET_KEY_FIELDS = 32 + 2 * 8
"""The same of a secret key."""


@lru_cache(maxsize=1)
def _decompressor(sealapi: ModuleType) -> Any:
    """``ZSTD_decompress`` of TenSEAL's library; None where the library does not show it."""
    native = getattr(sealapi, "_sealapi_cpp", None)
    try:
        function = ctypes.CDLL(native.__file__).ZSTD_decompress if native is not None else None
    except (AttributeError, OSError):
        return None
    if function is not None:
        function.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
        function.restype = ctypes.c_size_t
    return function


def unpacked(sealapi: ModuleType, blob: bytes, content_bytes: int, fields: int = _CIPHERTEXT_FIELDS) -> bytes:
    """The bytes of a ciphertext or key without compression, if all sections in it are whole and not compressed.

    Guarantee:
        SEAL unpacks nothing of what it is given, and does not end the process: held by
        ``test_sections_that_claim_to_be_compressed_are_refused`` and
        ``test_a_hostile_ciphertext_does_not_end_the_process``. Where TenSEAL's library does not show zstd (it does on
        Linux), the bytes are returned as they are.

    Args:
        sealapi: TenSEAL's SEAL layer.
        blob: what SEAL wrote, with a header that has been checked.
        content_bytes: the exact size of its contents.
        fields: bytes before their first section.

    Returns:
        The bytes for SEAL.

    Raises:
        DecodeError: they are something else.
    """
    decompress = _decompressor(sealapi)
    if decompress is None:
        return blob
    room = ctypes.create_string_buffer(content_bytes)
    frame = blob[HEADER_BYTES:]
    if decompress(room, content_bytes, frame, len(frame)) != content_bytes:
        raise DecodeError("the bytes do not unpack to what they announce.")
    contents, plain = room.raw, blob[:5] + bytes(3)
    place = fields
    while place < content_bytes:
        size = int.from_bytes(contents[place + 8 : place + HEADER_BYTES], "little")
        if contents[place : place + 8] != plain or not HEADER_BYTES < size <= content_bytes - place:
            raise DecodeError("a section of the bytes is not whole, or is compressed.")
        place += size
    return plain + (HEADER_BYTES + content_bytes).to_bytes(8, "little") + contents
