"""The corpus of a run, and its features of the frozen encoder."""

from diffusiontalker import storage
from diffusiontalker.config import Settings, fingerprint
from diffusiontalker.corpus.manifest import CorpusFolder, open_corpus, verify
from diffusiontalker.corpus.procedural import generation
from diffusiontalker.features import stage as features
from diffusiontalker.features.encoder import FrozenEncoder
from diffusiontalker.pipeline.run import Run, stage_folder
from diffusiontalker.pipeline.training import train_encoder


def with_obtainable_corpus(settings: Settings) -> Settings:
    """The settings, with the voices that can be had. Raises UserError."""
    corpus = settings.corpus
    if corpus.path is not None:
        return settings
    folder = stage_folder(storage.location(settings.output), "corpus", generation.key_of(corpus))
    return settings.model_copy(update={"corpus": generation.obtainable(corpus, folder)})


def corpus_data(run: Run) -> CorpusFolder:
    """The procedural corpus, or the user's shards."""
    run.settings = with_obtainable_corpus(run.settings)
    settings = run.settings.corpus
    if settings.path is not None:
        folder = storage.location(settings.path)
        return CorpusFolder(folder, open_corpus(folder))
    folder = run.stage(
        "corpus",
        run.folder("corpus", generation.key_of(settings)),
        lambda out, display: generation.make(out, settings, display.count),
    )
    return CorpusFolder(folder, open_corpus(folder))


def prepare_data(run: Run) -> CorpusFolder:
    """The corpus with features of the frozen encoder, extracted unless it comes with them."""
    settings, data = run.settings, corpus_data(run)
    if run.encoder is None:
        run.encoder = str(train_encoder(run, data))
    encoder = FrozenEncoder(run.encoder, settings.encoder.layers, settings.encoder.revision)
    degradation = settings.augmentation.degradation
    content = features.content(encoder.fingerprint(), degradation)
    if data.manifest.feature_fingerprint == content:
        # Once per content: a flipped bit found now costs less than one found by epoch three.
        # Where features are extracted, every shard is compared with its hash on the way.
        run.stage(
            "verify",
            run.folder("verify", fingerprint(str(data.folder), data.manifest.fingerprint)),
            lambda _, display: verify(data.folder, data.manifest, display.count),
        )
        return data
    cache = settings.extraction.cache
    folder = run.stage(
        "features",
        (storage.location(cache) if cache else run.root)
        / features.cache_name(data.manifest, content),
        lambda out, display: features.extract(
            data.folder,
            out,
            encoder,
            settings.extraction,
            degradation,
            settings.resources.gpu,
            display.count,
        ),
    )
    return CorpusFolder(folder, open_corpus(folder))
