"""Keep vectors in a database, DuckDB, and ask it: by meaning, and by what else is known.

    python examples/vector_db.py vectors.duckdb

DuckDB is one package with no server, and its database is one file. The README here says
why it, and not another. The search is exact: it looks at every row that the WHERE leaves.
"""

import argparse
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from minibert import embed, leads

ASK = """
SELECT title, topic, array_inner_product(vector, ?::FLOAT[384]) AS cosine
FROM leads WHERE topic LIKE ? ORDER BY cosine DESC, title LIMIT ?
"""


def fill(database: duckdb.DuckDBPyConnection, every: int) -> None:
    """Embed leads and write them, in a transaction: all of them or none."""
    chosen = leads("dev")[::every]
    vectors = embed([one.text for one in chosen], max_length=64)  # (n, 384), of length 1
    given = pa.table(
        {
            "title": [one.title for one in chosen],
            "topic": [one.topic for one in chosen],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 384),
        }
    )
    database.register("given", given)
    database.execute("CREATE TABLE leads AS SELECT * FROM given")


def ask(
    database: duckdb.DuckDBPyConnection, question: str, topic: str = "%", count: int = 3
) -> list[tuple[str, str, float]]:
    """Give the titles, topics and cosines of the leads nearest to a question."""
    vector: np.ndarray = embed([question])[0]
    return database.execute(ASK, [vector, topic, count]).fetchall()


def main() -> None:
    """Fill the database where it is empty, and ask it twice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default="vectors.duckdb")
    parser.add_argument("--every", type=int, default=5, help="5: every fifth lead")
    args = parser.parse_args()
    with duckdb.connect(args.file) as database:
        if ("leads",) not in database.execute("SHOW TABLES").fetchall():
            fill(database, args.every)
            print(f"{args.file} was filled")
        for topic in ("%", "Geography"):
            for title, found, cosine in ask(database, "a town on a large river", topic):
                print(f"{topic:10} {cosine:.3f} {found}: {title}")


if __name__ == "__main__":
    main()
