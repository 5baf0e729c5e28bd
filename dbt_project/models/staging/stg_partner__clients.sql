{{ staged("clients") }}
