"""A data set, as published or your own, into Parquet shards that training streams."""

from diffusiontalker import cli, cluster, config


def prepare(config_file: cli.Config = None, overrides: cli.Overrides = None) -> None:
    """Read a data set and write shards, manifest.json and prepare.html into the output.

    Malformed takes are put aside in quarantine.csv with the reason. Killed at any point, the same
    command goes on where it was; the manifest comes last.
    """
    settings = config.load_data(config_file, overrides or [])
    with cluster.session():
        from diffusiontalker import preparation

        print("\n".join(preparation.prepare(settings)))


if __name__ == "__main__":
    cli.main(prepare)
