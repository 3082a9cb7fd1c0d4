"""A data set, as published or your own, into Parquet shards that training streams."""

from diffusiontalker import cli, config, preflight, storage


def prepare(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Read a data set and write shards, manifest.json and prepare.html into the output.

    Malformed takes are listed in quarantine.csv with the reason. If the job is killed, the same
    command resumes it. Run again after files have changed, it prepares the set again, and replaces
    the old one when the new one is complete.

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
    # Before Ray starts, so that a mistake in a name is reported within a second.
    job = ingest.inspect(settings, folder)
    passed_over = len(page.passed_over(job.listing.skipped))
    print(f"{len(job.listing.takes)} takes found, {passed_over} files passed over")
    if job.up_to_date:
        print(*preparation.unchanged(job), sep="\n")
        return
    for line in preparation.changed(job):
        print(line)
    with cluster.session():
        print(*preparation.prepare(job), sep="\n")


if __name__ == "__main__":
    cli.main(prepare, resumes=True)
