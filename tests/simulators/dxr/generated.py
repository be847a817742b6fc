"""A tenant of any size, made up row by row: realistic, deterministic, fast, and in no more memory than one block."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import blake2b
from struct import Struct

from tests.simulators.dxr.sources import BLOCK_BYTES
from tests.simulators.dxr.templates import LABEL_SETS, TEMPLATES, Templates, templates

_FIRST_DAY = date(2022, 1, 1)
_DAYS = tuple((_FIRST_DAY + timedelta(days=day)).isoformat().encode() for day in range(1000))
_CLOCK = tuple(b"T%02d:%02d:%02dZ" % (t // 3600, t // 60 % 60, t % 60) for t in range(6 * 3600, 22 * 3600, 7))
# What a row draws from its hash: template, labels, day, clock, folder, size and the size's magnitude.
_DRAWS = Struct(">HHHHHIB")
# New files of revision n are numbered from here times n, so that they are nobody else's.
_REVISION_NUMBERS = 1_000_000_000
_BIG_ROW_PARTS = (4, 8, 14)


@dataclass(frozen=True, slots=True)
class GeneratedFiles:
    """`rows` made-up files; row i of a seed and a revision is the same in every process and however many rows follow.

    Against revision 0, in any other revision 1 % of the files are gone, as many are new in their places, 5 % carry
    other labels and a later `lastModifiedAt`, and all others are the same bytes. Rows have some 500 bytes to twice
    `mean_bytes` (of which less than 1000 is not reached), but every `big_row_every`-th has 1 to 3.7 MB (0: none). The
    connectors start at the seed-th: 16 datasources have them all.
    """

    rows: int
    seed: int = 0
    revision: int = 0
    datasources: int = 4
    mean_bytes: int = 2500
    big_row_every: int = 50_000

    @property
    def count(self) -> int:
        """The number of rows."""
        return self.rows

    def blocks(self) -> Iterator[bytes]:
        """Yield the rows in blocks of about 192 KiB; a big row makes its block bigger."""
        shared = templates(self.seed, self.datasources, self.mean_bytes)
        block, size = list[bytes](), 0
        for index in range(self.rows):
            row = self._row(shared, index)
            block.append(row)
            size += len(row)
            if size >= BLOCK_BYTES:
                block.append(b"")
                yield b"\n".join(block)
                block, size = [], 0
        if block:
            yield b"\n".join((*block, b""))

    def row(self, index: int) -> bytes:
        """Return one row by its place, without its newline."""
        return self._row(templates(self.seed, self.datasources, self.mean_bytes), index)

    def _row(self, shared: Templates, index: int) -> bytes:
        number, relabelled = index, False
        if self.revision:
            # 37 and 100 have no common divisor: of any hundred neighbours exactly one is new and five are relabelled.
            fate = (index * 37 + self.seed + self.revision * 11) % 100
            relabelled = 1 <= fate <= 5
            if fate == 0:
                number = self.revision * _REVISION_NUMBERS + index
        digest = blake2b(b"%d %d" % (self.seed, number), digest_size=63).digest()
        own = digest.hex().encode()
        draws: tuple[int, ...] = _DRAWS.unpack_from(digest, 48)
        template, labels, day, clock, folder, size, magnitude = draws
        labels %= LABEL_SETS
        if relabelled:
            labels = (labels + 1 + self.revision % (LABEL_SETS - 1)) % LABEL_SETS
        modified: bytes = (
            _DAYS[day % 700 + (1 + self.revision % 299 if relabelled else 0)] + _CLOCK[clock % len(_CLOCK)]
        )
        patch: dict[bytes, object] = {
            b"file_id": own[:32],
            b"sha256": own[32:96],
            b"modified": modified,
            b"labels": shared.labels[labels],
            b"size": size >> magnitude % 24,
            b"number": number,
            b"folder": folder,
        }
        if self.big_row_every and (index + 1) % self.big_row_every == 0:
            parts = _BIG_ROW_PARTS[index // self.big_row_every % len(_BIG_ROW_PARTS)]
            patch[b"annotations"] = b",".join([shared.big_annotations] * parts)
            template_text = shared.big_row
        else:
            template_text = shared.rows[template % TEMPLATES]
        row: bytes = template_text % patch
        return row
