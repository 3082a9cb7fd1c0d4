"""The whole chain: corpus, encoder, features, teacher, rounds, evaluation, artifact, report.

Each stage leaves a folder, on disk or in S3, named by the hash of all that determines it. The
last file in it is ``stage.json``: a stage whose folder holds one is not run again; one that was
killed goes on from its last checkpoint; a changed setting changes the name, so an old result is
never picked up.
"""
