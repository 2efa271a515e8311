"""Defects in what a file becomes on its way: its name, its form, its bytes."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_UPLOAD = "tools/transport/upload.py"
_LINE = "tools/transport/writing.py"
_READING = "tools/transport/reading.py"
_RANGES = "tools/transport/reading.py"

_PURPOSE = """            f'--{boundary}\\r\\nContent-Disposition: form-data; name="purpose"\\r\\n\\r\\n{purpose}\\r\\n'.encode(),\n"""  # noqa: E501  # one line of the program
_FILE = """            f'--{boundary}\\r\\nContent-Disposition: form-data; name="file"; '.encode(),\n"""
_END = '        epilogue=f"\\r\\n--{boundary}--\\r\\n".encode(),\n'
_QUOTED = "filename.translate(_ESCAPES)"
_HELD_SIZE = "    size = state.size if held is None else len(held)\n"
_LOOKED_AT = "path=path, name=path.name, size=size"
_COPY = """        while reader.place < end:
            with BUFFERS.lend() as buffer:
                piece = buffer[: min(self._chunk_bytes or len(buffer), end - reader.place)]
                count = await self._reading(reader.read_into, piece)
                await connection.write_view(piece[:count])
"""
_PART_TYPE = 'f"\\r\\nContent-Type: {_content_type(filename)}\\r\\n\\r\\n".encode()'


def _held(expression: str) -> dict[str, str]:
    return {_HELD_SIZE: f"    held = held and {expression}\n{_HELD_SIZE}"}


FORM: Final = (
    Mutant(
        defect="wrong name escaping: percent-encoded",
        file=_UPLOAD,
        patch={_QUOTED: "quote(filename)", "import mimetypes\n": "import mimetypes\nfrom urllib.parse import quote\n"},
        shows_in="requests[*].parts[*].'header.content-disposition'",
    ),
    Mutant(
        defect="wrong name escaping: backslashes left alone",
        file=_UPLOAD,
        patch={', ord("\\\\"): "\\\\\\\\"': ""},
        shows_in="requests[*].parts[*].'header.content-disposition'",
    ),
    Mutant(
        defect="lower-cased file name",
        file=_UPLOAD,
        patch={"filename=content.name": "filename=content.name.lower()"},
        shows_in="requests[*].parts[*].'header.content-disposition'",
    ),
    Mutant(
        defect="the name's accents composed (NFD becomes NFC)",
        file=_READING,
        patch={_LOOKED_AT: "path=path, name=__import__('unicodedata').normalize('NFC', path.name), size=size"},
        shows_in="result.filename",
    ),
    Mutant(
        defect="wrong part order",
        file=_UPLOAD,
        patch={
            _PURPOSE: "",
            _END: (
                """        epilogue=(f'\\r\\n--{boundary}\\r\\nContent-Disposition: form-data; name="purpose"'\n"""
                """                  f'\\r\\n\\r\\n{purpose}\\r\\n--{boundary}--\\r\\n').encode(),\n"""
            ),
        },
        shows_in="requests[*].parts[*].value",
    ),
    Mutant(
        defect="additional form field",
        file=_UPLOAD,
        patch={_PURPOSE: _PURPOSE + _PURPOSE.replace('"purpose"', '"source"').replace("{purpose}", "shim")},
        shows_in="requests[*].parts[*].value",
    ),
    Mutant(
        defect="wrong name of the file's field",
        file=_UPLOAD,
        patch={'name="file"; ': 'name="files"; '},
        shows_in="requests[*].parts[*].'header.content-disposition'",
    ),
    Mutant(
        defect="wrong content type",
        file=_UPLOAD,
        patch={'mimetypes.guess_type(filename)[0] or "application/octet-stream"': '"application/octet-stream"'},
        shows_in="requests[*].parts[*].'header.content-type'",
    ),
    Mutant(
        defect="missing content type",
        file=_UPLOAD,
        patch={_PART_TYPE: 'b"\\r\\n\\r\\n"'},
        shows_in="requests[*].parts[*].'header.content-type'",
    ),
    Mutant(
        defect="chunked encoding, because the body does not tell its length",
        file=_UPLOAD,
        patch={
            "def size(self) -> int:": "def size(self) -> None:",
            "        return self._whole\n\n": "        return None\n\n",
        },
        shows_in="requests[*].framing",
    ),
)

BYTES: Final = (
    Mutant(
        defect="one byte changed",
        file=_UPLOAD,
        patch={
            "self._preamble, held[self._start : self._start + self._length], self._epilogue": (
                "self._preamble, held[:-1], bytes(255 - byte for byte in held[-1:]), self._epilogue"
            )
        },
        shows_in="requests[*].parts[*].sha256",
    ),
    Mutant(
        defect="one byte changed in files that are not held",
        file=_UPLOAD,
        patch={
            "                await connection.write_view(piece[:count])\n": (
                "                piece[0] ^= 1\n                await connection.write_view(piece[:count])\n"
            )
        },
        shows_in="requests[*].parts[*].sha256",
    ),
    Mutant(
        defect="one byte lost at a chunk border, the length as announced",
        file=_LINE,
        patch={"view[start : start + WRITE_BYTES]": "view[start + (start > 0) : start + WRITE_BYTES]"},
        shows_in="error.type",
    ),
    Mutant(
        defect="one byte doubled at a chunk border, the last one lost",
        file=_RANGES,
        patch={
            "fill(view[:wanted], descriptor, self.place, self._content.path)": (
                "fill(view[:wanted], descriptor, self.place - (self.place > 0), self._content.path)"
            )
        },
        shows_in="requests[*].parts[*].sha256",
    ),
    Mutant(
        defect="truncated at exactly 2^20",
        file=_READING,
        patch={_HELD_SIZE: _HELD_SIZE + "    size = min(size, 1 << 20)\n"},
        shows_in="result.size_bytes",
    ),
    Mutant(
        defect="empty where the length is exactly 2^18",
        file=_READING,
        patch={_HELD_SIZE: _HELD_SIZE.replace("len(held)", "len(held) % SHORT_FILE_BYTES")},
        shows_in="result.size_bytes",
    ),
    Mutant(
        defect="off by one at SHORT_FILE_BYTES",
        file=_READING,
        patch={
            "held = file.read(SHORT_FILE_BYTES + 1) if state.size <= SHORT_FILE_BYTES else None": (
                "held = file.read(SHORT_FILE_BYTES) if state.size <= SHORT_FILE_BYTES + 1 else None"
            )
        },
        shows_in="result.size_bytes",
    ),
    Mutant(
        defect="a buffer is filled again before it was sent",
        file=_UPLOAD,
        patch={
            _COPY: """        unsent = None
        with BUFFERS.lend() as buffer:
            while reader.place < end:
                piece = buffer[: min(self._chunk_bytes or len(buffer) // 2, end - reader.place)]
                count = await self._reading(reader.read_into, piece)
                if unsent is not None:
                    await connection.write_view(unsent)
                unsent = piece[:count]
            if unsent is not None:
                await connection.write_view(unsent)
"""
        },
        shows_in="requests[*].parts[*].sha256",
    ),
    Mutant(
        defect="an empty file is refused",
        file=_READING,
        patch={_HELD_SIZE: _HELD_SIZE + "    if not size:\n        raise ValueError(f'{path.name} is empty')\n"},
        shows_in="error.text",
    ),
    Mutant(
        defect="the trailing newline is dropped",
        file=_READING,
        patch=_held(r"held.removesuffix(b'\n')"),
        shows_in="result.size_bytes",
    ),
    Mutant(
        defect="the byte order mark is stripped",
        file=_READING,
        patch=_held(r"held.removeprefix(b'\xef\xbb\xbf')"),
        shows_in="requests[*].length",
    ),
    Mutant(
        defect="line ends become those of Unix",
        file=_READING,
        patch=_held(r"held.replace(b'\r\n', b'\n')"),
        shows_in="requests[*].length",
    ),
    Mutant(
        defect="the hash of the first buffer only",
        file=_READING,
        patch={"for place in range(0, content.size, len(buffer))": "for place in range(0, min(content.size, 1), 1)"},
        shows_in="requests[*].body.sha256",
    ),
)

MUTANTS: Final = FORM + BYTES
