"""What the admin API answers, as types: its description is made from them, and the tests hold every answer to them."""
