"""Shards that are damaged on the disk."""

from pathlib import Path

import pyarrow.parquet as pq

from diffusiontalker.corpus import shards


def flip(shard: Path, column: str) -> None:
    """Change one bit in the middle of a column."""
    content = bytearray(shard.read_bytes())
    chunk = pq.read_metadata(shard).row_group(0).column(shards.SCHEMA.get_field_index(column))
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 0x10
    shard.write_bytes(content)
