{{ staged("waves") }}
