"""What stands behind the numbers of the main menu: a module a page, each a function of the desk."""
