"""mkdocs hook: a page per module of usermodel/, and the nav entries of what is found rather than listed."""

from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]


def modules() -> list[tuple[str, ...]]:
    """Import paths of all public modules, in the order of the tree."""
    found = sorted(
        path.relative_to(ROOT).with_suffix("").parts for path in (ROOT / "usermodel").rglob("*.py")
    )
    return [parts for parts in found if not any(part.startswith("_") for part in parts)]


def on_config(config):
    """Further top-level pages, decisions and API pages go to the end of the nav."""
    others = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "index.md")
    config.nav += others
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    config.nav.append({"Decisions": [f"decisions/{path.name}" for path in records]})
    groups: dict[str, list[dict[str, str]]] = {}
    for parts in modules():
        group = parts[1] if len(parts) > 2 else "usermodel"
        groups.setdefault(group, []).append({parts[-1]: f"api/{'/'.join(parts[1:])}.md"})
    config.nav.append({"API": [{group: pages} for group, pages in sorted(groups.items())]})
    return config


def on_files(files, config):
    """One generated page per module."""
    for parts in modules():
        name = ".".join(parts)
        text = f"# {name}\n\n::: {name}\n"
        files.append(File.generated(config, f"api/{'/'.join(parts[1:])}.md", content=text))
    return files
