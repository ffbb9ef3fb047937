"""Built-in recipes: values, one file per family."""
