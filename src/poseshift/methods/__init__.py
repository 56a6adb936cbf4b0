"""The methods, one paper a file; a new one is its file and a line here."""

from __future__ import annotations

from poseshift.methods.base import Method, OnTheFly
from poseshift.methods.bn_adapt import BnAdapt, BnAdaptConfig
from poseshift.methods.ccssl import Ccssl
from poseshift.methods.dann import Dann
from poseshift.methods.maps import Maps
from poseshift.methods.multilevel import Multilevel
from poseshift.methods.multilevel_plus import MultilevelPlus
from poseshift.methods.pose_prior import PosePriorTraining
from poseshift.methods.post import Post
from poseshift.methods.regda import Regda
from poseshift.methods.sfdahpe import Sfdahpe
from poseshift.methods.shot import Shot
from poseshift.methods.source_only import SourceOnly
from poseshift.methods.style import Style
from poseshift.methods.uda_animal import UdaAnimal
from poseshift.methods.uniframe import Uniframe

METHODS: dict[str, type[Method]] = {
    "source_only": SourceOnly,
    "uniframe": Uniframe,
    "multilevel": Multilevel,
    "multilevel_plus": MultilevelPlus,
    "dann": Dann,
    "ccssl": Ccssl,
    "uda_animal": UdaAnimal,
    "regda": Regda,
    "shot": Shot,
    "maps": Maps,
    "sfdahpe": Sfdahpe,
    "bn_adapt": BnAdapt,
    "post": Post,
    "style": Style,
    "pose_prior": PosePriorTraining,
}

TEST_TIME: dict[str, OnTheFly] = {
    "statistics": OnTheFly(config=BnAdaptConfig(objective="none"), moves="BatchNorm statistics"),
    "entropy": OnTheFly(
        config=BnAdaptConfig(objective="entropy"), moves="BatchNorm statistics, scales and shifts (entropy)"
    ),
    "consistency": OnTheFly(
        config=BnAdaptConfig(objective="consistency"), moves="BatchNorm statistics, scales and shifts (consistency)"
    ),
}
"""Ways to adapt while predicting, by what they are called there."""
