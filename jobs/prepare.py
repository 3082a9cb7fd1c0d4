"""A data set, as published or your own, into Parquet shards that training streams."""

from diffusiontalker import cli, cluster, config, preparation, storage
from diffusiontalker.corpus import recordings
from diffusiontalker.report import prepared


def prepare(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Read a data set and write shards, manifest.json and prepare.html into the output.

    Malformed takes are put aside in quarantine.csv with the reason. Killed at any point, the same
    command goes on where it was; the manifest comes last. Run again, it keeps what is unchanged and
    prepares anew what was made of files that have changed.
    """
    settings = config.load_data(config_file, overrides or [])
    if settings.source.kind == preparation.PROCEDURAL:
        with cluster.session():
            print(*preparation.procedural_corpus(settings), sep="\n")
        return
    # Before Ray starts, so that a mistake in a name is said in a second.
    found = recordings.survey(settings, storage.location(settings.output))
    passed_over = len(prepared.passed_over(found.listing.skipped))
    print(f"{len(found.listing.takes)} takes found, {passed_over} files passed over")
    if found.kept:
        print(*preparation.unchanged(found), sep="\n")
        return
    for line in preparation.changed(found):
        print(line)
    with cluster.session():
        print(*preparation.prepare(found), sep="\n")


if __name__ == "__main__":
    cli.main(prepare, resumes=True)
