"""BERT from one matrix product up: the package that the book's chapters write.

Import from the modules, which follow the book: `minibert.transformer`,
`minibert.data`, `minibert.tokens`, `minibert.embeddings`, `minibert.bert`,
`minibert.counting`. This file imports none of them, so that `import minibert` is free.
"""

__version__ = "0.2.0"
