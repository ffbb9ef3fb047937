"""``python -m usermodel``, which is how torchrun starts the command line."""

from usermodel.cli.main import main

if __name__ == "__main__":
    main()
