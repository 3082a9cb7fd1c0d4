"""A data set, as published or your own, into Parquet shards that training streams."""

from diffusiontalker import cli, config, preflight, storage


def prepare(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Read a data set and write shards, manifest.json and prepare.html into the output.

    Malformed takes are put aside in quarantine.csv with the reason. Killed at any point, the same
    command goes on where it was; the manifest comes last. Run again, it keeps what is unchanged and
    prepares anew what was made of files that have changed.

    Example: python jobs/prepare.py --config configs/data/folder.yaml source.root=takes
    output=shards
    """
    settings = config.load_data(config_file, overrides or [])
    folder = storage.location(settings.output)
    preflight.check_holds(folder, preflight.SHARDS)
    from diffusiontalker import cluster, preparation
    from diffusiontalker.corpus import ingest
    from diffusiontalker.report.prepared import page

    if settings.source.kind == preparation.PROCEDURAL:
        corpus = preparation.procedural_settings(settings)
        with cluster.session():
            print(*preparation.procedural_corpus(corpus, folder), sep="\n")
        return
    # Before Ray starts, so that a mistake in a name is said in a second.
    found = ingest.survey(settings, folder)
    passed_over = len(page.passed_over(found.listing.skipped))
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
