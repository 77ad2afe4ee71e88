"""The issuing node and its operators' commands."""
