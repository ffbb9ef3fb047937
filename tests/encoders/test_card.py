import json
import re

import pytest

from usermodel.encoders.card import CardFacts, Metric, card, foreign_modules
from usermodel.encoders.gru import GruConfig
from usermodel.encoders.transformer import TransformerConfig

ENCODER = TransformerConfig(dim=8).to_dict()
FULL = CardFacts(
    encoder=ENCODER,
    size={"vectors": "8 numbers", "items": 12345, "parameters": 7},
    data={"users": 2_000_000, "split": "leave-last-out"},
    recipe={"class": "usermodel.training.recipe:Recipe", "encoder": ENCODER, "training": {"seed": 3}},
    metrics=[Metric("ndcg@10", 0.12345, "validation", "mean of something; if rank <= 10")],
    training={"seconds": 1.5, "hardware": "x86_64, 2 threads, cpu"},
)


def front_matter(text):
    """Enough of YAML for what the card uses: scalars, one list, comments."""
    lines = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1].split("\n")
    data, key = {}, ""
    for line in lines:
        if line.startswith("- "):
            data[key].append(line[2:])
        elif not line.startswith("#"):
            key, _, value = line.partition(":")
            data[key] = value.strip() or []
    return data


def section(text, title):
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_front_matter_is_what_the_hub_reads_and_names_no_licence():
    data = front_matter(card(FULL))
    assert data == {
        "library_name": "usermodel",
        "pipeline_tag": "feature-extraction",
        "tags": ["user-embeddings", "sequential-recommendation", "recommender-system", "transformer"],
    }
    assert "# license: choose one" in card(FULL)
    assert "gru" in front_matter(card(CardFacts(GruConfig().to_dict())))["tags"]


def test_every_fact_stands_in_its_section():
    text = card(FULL)
    assert "| items | 12,345 |" in text
    assert "| users | 2,000,000 |" in section(text, "Data")
    assert "| ndcg@10 | 0.1235 | validation |" in section(text, "Metrics")
    assert "- ndcg@10: mean of something; if rank &lt;= 10." in section(text, "Metrics")
    assert "Test: not measured" in section(text, "Metrics")
    assert "| seconds | 1.5 |" in section(text, "Training")
    assert "usermodel pretrain STORE -o RUN --recipe recipe.json\n" in section(text, "Training")
    recipe = re.search(r"```json\n(.*?)\n```", section(text, "Training"), re.DOTALL)[1]
    assert json.loads(recipe) == FULL.recipe
    assert "vector of zeros" in section(text, "Limits")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_the_same_facts_give_the_same_text():
    assert card(FULL) == card(CardFacts(**vars(FULL)))


def test_nothing_is_made_up():
    text = card(CardFacts(ENCODER))
    assert section(text, "Data").strip() == "Not recorded."
    assert "Validation: not measured." in section(text, "Metrics")
    assert "| metric |" not in text
    assert "Not trained here." in section(text, "Training")
    assert "usermodel pretrain" not in text
    tested = card(CardFacts(ENCODER, metrics=[Metric("mrr", 0.5, "test")]))
    assert "| mrr | 0.5000 | test |" in tested
    assert "Test: not measured" not in tested
    assert "Validation: not measured." in tested


def test_how_to_load_is_python():
    code = re.search(r"```python\n(.*?)```", card(FULL), re.DOTALL)[1]
    compile(code, "card", "exec")


def test_classes_from_elsewhere_must_be_allowed_to_load_and_to_repeat():
    recipe = {"class": "usermodel.training.recipe:Recipe", "encoder": {"class": "my_package.net:NetConfig"}}
    assert foreign_modules(recipe) == ["my_package.net"]
    assert foreign_modules({"class": "usermodels.net:NetConfig"}) == ["usermodels.net"]
    assert foreign_modules({"stages": [recipe], "encoder": ENCODER}) == ["my_package.net"]
    assert foreign_modules({"parts": [ENCODER, ({"class": "other:A"},)]}) == ["other"]
    text = card(CardFacts(recipe["encoder"], recipe=recipe))
    assert "UserEncoder.load(\"path/to/this/folder\", allow_modules=['my_package.net'])" in text
    assert "--recipe recipe.json --allow-module my_package.net\n" in text
    assert "# User encoder: Net\n" in text


@pytest.mark.parametrize("text", ["a | b", "a\nb", "<script>", "`x`", "[a](b)", "# no", "a_b*c*"])
def test_text_from_elsewhere_stays_in_its_cell(text):
    line = next(
        line for line in card(CardFacts(ENCODER, data={"split": text})).split("\n") if "split" in line
    )
    assert re.fullmatch(r"\| split \| (?:[^|\\<]|\\.)* \|", line)
    assert re.sub(r"\\(.)", r"\1", line).replace("&lt;", "<") == f"| split | {' '.join(text.split())} |"
