"""Help texts, made from the configuration files themselves."""

from __future__ import annotations

from segtrain.cli import COMMANDS, COMPOSED
from segtrain.cli.conf import groups, options, summary_of

EXAMPLES = {
    "train": (
        "python train.py",
        "python train.py data=folder data.root=my_images loss=dice_bce aug=heavy epochs=50",
        "python train.py -m loss=bce,focal,dice seed=1,2",
        "python train.py resume=latest",
    ),
    "evaluate": ("segtrain evaluate run=latest", "segtrain evaluate run=outputs/nuclei/RUN split=val"),
    "repro": ("segtrain repro latest", "segtrain repro outputs/nuclei/RUN trainer=cpu data.root=where_it_is_now"),
    "predict": ("segtrain predict run=latest input=images output=masks",),
    "check": (
        "segtrain check data=folder data.root=my_images",
        "segtrain check data=folder data.root=my_images exclude=bad.txt write=myconf",
    ),
    "preview": (
        "segtrain preview data=folder data.root=my_images aug=heavy",
        "segtrain preview --compare aug=none,light,heavy rows=6",
        "segtrain preview --compare aug=light aug.train.affine.degrees=10,45",
    ),
    "test-loss": (
        "segtrain test-loss my_pkg.MyLoss scale=2.0",
        "segtrain test-loss focal gamma=3 modes=binary,multilabel",
        "segtrain test-loss dice_ce weights.dice=2 terms.ce.label_smoothing=.1",
    ),
    "explain": (
        "segtrain explain loss=focal loss.gamma=3",
        "segtrain explain loss=focal,dice,bce share=.05",
        "segtrain explain loss=focal loss.gamma=0,1,2,5 output=gamma.png",
    ),
    "ls": ("segtrain ls", "segtrain ls loss", "segtrain ls ops", "segtrain ls encoders"),
    "cp": ("segtrain cp loss/focal myconf", "segtrain train --config-dir myconf loss=focal"),
    "env": ("segtrain env",),
}
FLAGS = (
    "  -m, --multirun       train every combination of comma-separated values",
    "  --cfg job            print the configuration and stop",
    "  --config-dir DIR     also look for configuration groups in DIR (first)",
    "  --allow PACKAGE      let the configuration name code of your own package",
    "  --traceback          show where an error came from",
)

COMPARE = "  --compare            put comma-separated values of aug and mix, and of their settings, side by side"


def overview() -> str:
    """What `segtrain --help` prints."""
    width = max(map(len, COMMANDS))
    lines = ["segtrain: train semantic-segmentation networks from one command.", "", "commands:"]
    lines += [f"  {name:{width}}  {text}" for name, (_, _, text) in COMMANDS.items()]
    lines += ["", "examples:"] + [f"  {EXAMPLES[name][0]}" for name in ("train", "evaluate", "predict")]
    return "\n".join([*lines, "", "`segtrain COMMAND --help` says more; all settings are written key=value."])


def about(command: str) -> str:
    """What `segtrain COMMAND --help` prints: what it does, examples, groups with their options, settings."""
    lines = [f"segtrain {command}: {COMMANDS[command][2]}", "", "examples:"]
    lines += [f"  {example}" for example in EXAMPLES[command]]
    if command in ("train", "evaluate", "check", "preview"):
        lines += ["", "groups (GROUP=OPTION; `segtrain ls GROUP` says what each option is for):"]
        lines += [f"  {group:10} {', '.join(names)}" for group in groups() if (names := options(group))]
    if command in ("test-loss", "explain"):
        lines += ["", f"losses: {', '.join(options('loss'))}"]
    if command in COMPOSED:
        lines += ["", "settings (KEY=VALUE; --cfg job shows those of the groups too):"]
        lines += [f"  {line}" for line in summary_of(command)]
        lines += ["", "flags:", *([COMPARE] if command == "preview" else []), *FLAGS]
    elif command in ("test-loss", "repro"):
        lines += ["", "flags:", *FLAGS[-3:]]
    return "\n".join(lines)
