"""Digests of the weights of a model, by which one revision of it is told from another."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

SAMPLE = 256
"""Numbers of each weight tensor that the digest reads."""

COMMIT = re.compile("[0-9a-f]{40}")
"""Commits of model hubs."""

BYTES = 1 << 20
"""Bytes at both ends of a file that the digest reads."""


def revision_of(encoder: Any) -> str | None:
    """Return the revision that an encoder tells of itself; None if it tells none."""
    revision = getattr(encoder, "revision", None)
    return revision if isinstance(revision, str) and revision else None


def comparable(first: str, second: str) -> bool:
    """Return whether two revisions that differ are of different models: both commits, digests or names.

    A commit of a hub and a digest of weights may be of the same model.
    """
    return _kind(first) == _kind(second)


def _kind(revision: str) -> str:
    return "commit" if COMMIT.fullmatch(revision) else revision.partition("-")[0]


def is_on_hub(name: str) -> bool:
    """Return whether the name of a model is that of a hub, and not a folder."""
    return not Path(name).exists()


def weights_revision(model: Any, *texts: str, from_hub: bool = False) -> str:
    """Return the revision of a torch model: the commit of its hub, or a digest of its weights.

    A model that was trained further in memory, and the model below an adapter in a folder, still name the
    commit that they began with. So the commit counts only where the weights are certainly those of the
    hub. The digest reads the name, the shape and some 256 to 511 numbers of each tensor, evenly spread, as
    float16, so that it is the same in single and half precision.

    Parameters
    ----------
    model : torch.nn.Module
        The model, on any device.
    *texts : str
        What else decides the vectors, such as prompts.
    from_hub : bool, default=False
        Whether the caller has just loaded the model from a hub.

    Returns
    -------
    str
        Forty hexadecimal digits of a commit, or ``weights-`` and sixteen of a digest.
    """
    commit = _commit(model) if from_hub else None
    if commit is not None:
        return commit
    digest = hashlib.sha256("\0".join(texts).encode())
    for name, values in sorted(model.state_dict().items()):
        flat = values.detach().flatten()
        sample = flat[:: max(1, flat.numel() // SAMPLE)]
        # Indices of positions and the like stay integers.
        sample = sample.half() if sample.is_floating_point() else sample.long()
        digest.update(f"{name} {tuple(values.shape)}".encode())
        digest.update(sample.cpu().numpy().tobytes())
    return f"weights-{digest.hexdigest()[:16]}"


def file_revision(*files: Path) -> str:
    """Return the revision of a model in files: a digest of the size, the beginning and the end of each.

    Parameters
    ----------
    *files : Path
        Files with the model.

    Returns
    -------
    str
        ``weights-`` and sixteen hexadecimal digits, ``files-`` and as many for several files.
    """
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(str(size).encode())
        with file.open("rb") as stream:
            digest.update(stream.read(BYTES))
            if size > 2 * BYTES:
                stream.seek(-BYTES, 2)
            digest.update(stream.read())
    # Collections may remember the digest of the first file alone, which is not to be compared with this one.
    kind = "weights" if len(files) == 1 else "files"
    return f"{kind}-{digest.hexdigest()[:16]}"


def _commit(model: Any) -> str | None:
    """The commit of the hub from which all of a model was loaded; None if its parts are of several."""
    modules = [*model.modules()]
    if any(hasattr(module, "peft_config") for module in modules):
        # Adapters have a repository of their own, and the commit is that of the model below them.
        return None
    commits = {getattr(getattr(module, "config", None), "_commit_hash", None) for module in modules} - {None}
    return str(commits.pop()) if len(commits) == 1 else None
