"""The papers' own figures, to stand beside ours. They were measured on the papers' data and
hardware, so only their order compares.

v1 (arXiv 2311.16565v2): BEAT and VOCASET, its times on one V100, per frame; v2 (arXiv 2503.18159):
3D-ETF and VOCASET, from the abstract, the poster's tables and the project page. Vertex errors of
v2 in m² on a human head. v1 states its errors of VOCASET without their scale: they are left out.
"""

Published = dict[str, dict[str, dict[str, float]]]
"""Table -> row -> metric -> figure, by the rows' labels in ``tables`` and the columns' keys."""


def _v1(lbe: float, fdd: float, tenths_of_ms: float) -> dict[str, float]:
    return {
        "lbe_published": lbe, "fdd_published": fdd,
        "fps_every_step": round(1e4 / tenths_of_ms, 1),
    }  # fmt: skip


def _v2(eve: float, lve: float, fdd: float, fps: float, size_mb: float) -> dict[str, float]:
    return {
        "eve": eve * 1e-5, "lve": lve * 1e-5, "fdd_vertex": fdd * 1e-7, "fps_every_step": fps,
        "size_mb": size_mb,
    }  # fmt: skip


def _errors(*figures: float) -> dict[str, float]:
    keys = ("eve", "lve", "fdd_vertex") if len(figures) == 3 else ("lve", "fdd_vertex")
    scale = {"eve": 1e-5, "lve": 1e-5, "fdd_vertex": 1e-7}
    return {key: value * scale[key] for key, value in zip(keys, figures, strict=True)}


V1: Published = {
    "steps": {
        "teacher, 32 steps": _v1(0.1053, 0.1647, 32.2),
        "teacher, 16 steps": _v1(0.1097, 0.1656, 16.8),
        "teacher, 8 steps": _v1(0.1177, 0.1709, 7.0),
        "distilled, 16 steps": _v1(0.0957, 0.1433, 16.8),
        "distilled, 8 steps": _v1(0.0969, 0.1558, 7.1),
    },
    "rivals": {
        "EmoTalk": {"mbe": 1.0537, **_v1(0.2628, 0.0751, 9.3)},
        "FaceDiffuser, 1000 steps": {"mbe": 0.4332, **_v1(0.1071, 0.1786, 1000.9)},
        "FaceDiffuser, 8 steps": {"mbe": 0.8372, **_v1(0.2115, 0.0589, 8.2)},
        "distilled, 8 steps": {"mbe": 0.4094, **_v1(0.0969, 0.1558, 7.1)},
    },
    "matching": {
        "distilled, 8 steps": {
            "identity_precision": 0.99996, "identity_recall": 0.99986, "identity_f1": 0.99991,
        },
    },
    "ablation": {
        "full": {"mbe": 0.4094, "lbe_published": 0.0969},
        "without distillation: teacher": {"mbe": 0.4545, "lbe_published": 0.1177},
        "without lip loss": {"mbe": 0.4222, "lbe_published": 0.1037},
        "without velocity loss": {"mbe": 0.4414, "lbe_published": 0.1129},
        "without identity": {"mbe": 0.4306, "lbe_published": 0.1034},
    },
}  # fmt: skip
V2: Published = {
    "rivals": {
        "FaceFormer": _v2(2.487, 8.656, 11.909, 426.01, 349),
        "EmoTalk": _v2(1.331, 2.347, 2.196, 1063.13, 2411),
        "FaceDiffuser, 1000 steps": _v2(2.537, 6.137, 8.172, 10.33, 860),
        "SelfTalk": _v2(2.206, 6.796, 11.622, 1428.57, 1715),
        "UniTalker": _v2(1.439, 1.727, 3.004, 68.75, 348),
        "teacher, 16 steps": _v2(1.275, 1.021, 2.023, 440.01, 334),
        "distilled, 2 steps": _v2(1.097, 1.375, 2.177, 3632.15, 45),
    },
    "vocaset": {
        "FaceFormer": _errors(1.170, 2.493),
        "FaceDiffuser, 1000 steps": _errors(0.973, 1.754),
        "SelfTalk": _errors(0.967, 1.049),
        "UniTalker": _errors(0.814, 1.396),
        "distilled, 2 steps": _errors(0.857, 1.198),
    },
    "ablation": {
        "full": _errors(1.097, 1.375, 2.177),
        "without identity": _errors(1.223, 1.412, 2.301),
        "without emotion": _errors(1.968, 1.547, 2.570),
        "without enhancer": _errors(1.712, 1.116, 2.512),
        "without distillation: teacher": _errors(1.305, 1.647, 2.618),
    },
}
PUBLISHED: dict[str, Published] = {"v1": V1, "v2": V2}
