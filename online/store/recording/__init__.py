"""One process that writes for all workers of a node into its SQLite file.

Where several processes write in turn, each one's copy of the database's pages is out of date when its turn comes, and
each waits for the others. The recorder has the newest pages in memory, waits for nobody, and writes down what all of
them have at hand in one transaction.

It decides nothing and answers nobody but workers; whoever has no line to it writes by himself, as ever.
"""
