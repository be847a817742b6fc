"""What makes a line a row: it is exactly one JSON object in valid UTF-8, as the JVM's JSON parser alone decides.

The line is parsed as the first of two elements of an array, `{"<nonce>":[<line>,{"<nonce>":1}]}`; only if exactly those
two come out was the line exactly one object: what follows an object would otherwise be ignored, and nothing in a line
can stand for a nonce that was drawn after it was written. Spark passes over an error inside a field and goes on behind
it (partial results); that there was one is told by the column for corrupt records alone. So that it tells nothing else,
every field is asked for as text, which any JSON value can be.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NO_ROW: Final = "not exactly one JSON object in valid UTF-8"
# Spark's defaults take single quotes and NaN, and fail on long strings and numbers.
JSON_OPTIONS: Final = {
    "mode": "PERMISSIVE",
    "allowSingleQuotes": "false",
    "allowNonNumericNumbers": "false",
    "allowUnquotedControlChars": "false",
    "maxStringLen": "2000000000",
    "maxNumLen": "2000000000",
    "maxNestingDepth": "1001",  # the contract's 500, with room for what another producer may call its depth
}
# Jackson refuses longer names and Spark has no option for it, so they are shortened for the decision alone.
NAME_CHARACTERS_MAX: Final = 50_000
NAME_PATTERN: Final = r'"(?:[^"\\]++|\\.)*+"(?=\s*+:)'


def row_expression(
    fields: Collection[str], constants: Mapping[str, str] | None = None, *, proven_utf8: bool = False
) -> str:
    """SQL for the fields of the line `value`, by name and as text, as a struct; null if the line is no row.

    `constants` are more of its fields, as SQL. Here they are no part of the code that Spark generates and the JVM
    compiles, so that the next commit, whose constants are others, finds that code compiled.

    With `proven_utf8` nobody asks again whether the line is UTF-8, which costs as much as to unzip it.

    Use it once: its nonce is drawn here. Lambdas bind the parsed pair, so that a line is parsed once however often it
    is looked at. SQL text instead of columns: a tree of this size costs the driver seconds of calls into the JVM.
    """
    nonce = f"n{secrets.token_hex(16)}"
    also = [f"{value} AS `{name}`" for name, value in (constants or {}).items()]
    kept = ", ".join([*(f"get(a.{nonce}, 0).`{name}` AS `{name}`" for name in fields), *also])
    lost = ", ".join([*(f"CAST(NULL AS STRING) AS `{name}`" for name in fields), *also])
    # Only names beyond Jackson's limit leave a legal row unread; its fields are null then.
    shortened = f"regexp_replace(value, r'{NAME_PATTERN}', '\"\"')"
    is_utf8 = "true" if proven_utf8 else "is_valid_utf8(value)"
    return (
        f"CASE WHEN {is_utf8} THEN coalesce({_only_object('value', fields, nonce, kept)}, "
        f"CASE WHEN length(value) > {NAME_CHARACTERS_MAX} THEN {_only_object(shortened, (), nonce, lost)} END) END"
    )


def row_generator(
    fields: Collection[str], constants: Mapping[str, str] | None = None, *, proven_utf8: bool = False
) -> str:
    """SQL that makes of each line that is a row the column `row` with its fields, and nothing of any other line."""
    # A generator drops the lines that are none, and no optimizer rule moves a second parse below it.
    row = row_expression(fields, constants, proven_utf8=proven_utf8)
    return f"explode(array_compact(array({row}))) AS row"


def options_sql(**more: str) -> str:
    """The options for `from_json` in SQL."""
    options = ", ".join(f"'{name}', '{value}'" for name, value in {**JSON_OPTIONS, **more}.items())
    return f"map({options})"


def _only_object(line: str, fields: Collection[str], nonce: str, kept: str) -> str:
    struct = ", ".join(f"`{name}` STRING" for name in (*fields, nonce))
    corrupt = f"corrupt_{nonce}"
    parsed = (
        f"from_json(concat('{{\"{nonce}\":[', {line}, ',{{\"{nonce}\":1}}]}}'), "
        f"'STRUCT<{nonce}: ARRAY<STRUCT<{struct}>>, {corrupt}: STRING>', "
        f"{options_sql(columnNameOfCorruptRecord=corrupt)})"
    )
    is_row = (
        f"a.{corrupt} IS NULL AND size(a.{nonce}) = 2 "
        f"AND get(a.{nonce}, 0) IS NOT NULL AND get(a.{nonce}, 1).{nonce} IS NOT NULL"
    )
    return f"get(transform(filter(array({parsed}), a -> {is_row}), a -> struct({kept})), 0)"
