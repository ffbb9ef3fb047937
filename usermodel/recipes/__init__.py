"""Built-in recipes: values, one file per family.

``usermodel.recipes.next_item()`` finds the function in its family file: the import path is the registry.
"""


def __getattr__(name: str) -> object:
    from usermodel.recipes.catalog import built_in

    recipes = built_in()
    if name.replace("_", "-") not in recipes or "-" in name:
        raise AttributeError(f"no recipe {name!r}; there are: {', '.join(recipes)}")
    return recipes[name.replace("_", "-")]
