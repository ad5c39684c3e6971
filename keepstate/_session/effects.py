"""What running a cell again may do outside the notebook, as far as its code gives it away."""

from __future__ import annotations

import re

_EFFECTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "runs a command of the system",
        re.compile(r"(?m)^\s*(?:[\w.,\s]+=\s*)?!|^\s*%%(?:bash|sh|script|cmd|!)"),
    ),
    ("runs a command of the system", re.compile(r"\b(?:os\.(?:system|popen|exec\w*|spawn\w*)|subprocess\.)")),
    ("installs packages", re.compile(r"(?m)^\s*[!%]\s*(?:pip|conda|mamba|uv|apt|apt-get)\b")),
    (
        "writes or removes files",
        re.compile(
            r"""\bopen\([^)\n]*,\s*(?:mode\s*=\s*)?["'][^"'\n]*[wax+]"""
            r"|\.(?:to_(?:csv|parquet|excel|json|pickle|feather|hdf|stata|html)|savefig|save_model|save_weights"
            r"|save_pretrained|write_text|write_bytes|write_csv|write_parquet|unlink|rmdir|mkdir|touch|rename)\("
            r"|\b(?:np|numpy|torch|joblib|pickle|json|yaml|plt|cv2)\.(?:save\w*|dump|imwrite|write)\("
            r"|\b(?:shutil\.|os\.(?:remove|unlink|rename|replace|makedirs|mkdir|rmdir|truncate)\b)"
            r"|(?m:^\s*%%(?:writefile|file)\b)"
        ),
    ),
    (
        "talks to the network",
        re.compile(
            r"\b(?:requests|httpx|urllib\d?|aiohttp|smtplib|ftplib|paramiko|boto3|openai|wandb|mlflow|kaggle)\b\s*\."
            r"|\b(?:urlopen|urlretrieve|snapshot_download|hf_hub_download|load_dataset|fetch_openml|push_to_hub)\("
            r"|\.from_pretrained\(|[\"'](?:https?|s3|gs|ftp|wss?)://"
        ),
    ),
    (
        "may change a database",
        re.compile(r"\.(?:execute(?:many|script)?|commit|to_sql|insert_(?:one|many)|add_all|flush)\("),
    ),
)


def effects_of(source: str) -> tuple[str, ...]:
    """Say what a cell may do outside the notebook.

    >>> effects_of("!pip install x"), effects_of("df.to_csv('a.csv')"), effects_of("x = 1")
    (('runs a command of the system', 'installs packages'), ('writes or removes files',), ())
    """
    return tuple(dict.fromkeys(what for what, pattern in _EFFECTS if pattern.search(source)))
