{{ staged("recid", kind="benchmark") }}
