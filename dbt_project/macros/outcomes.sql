{# Whether the case of an offence counts under an outcome definition, given how it was disposed of. #}
{% macro case_counts(offence, outcome) -%}
    (
        {{ offence }}.counts = 'always'
        or ({{ offence }}.counted_when = 'pending_counts' and {{ outcome }}.pending_counts)
        or ({{ offence }}.counted_when = 'policy_dismissal_counts' and {{ outcome }}.policy_dismissal_counts)
    )
{%- endmacro %}


{# Whether an offence is of the level that an outcome definition asks for. #}
{% macro is_of_level(offence, outcome) -%}
    case {{ outcome }}.level
        when 'general' then true
        when 'serious' then {{ offence }}.is_serious
        when 'very_serious' then {{ offence }}.is_very_serious
        when 'specific' then {{ offence }}.offence_group = {{ outcome }}.index_offence_group
        when 'custodial' then {{ offence }}.is_custodial
        else error('an outcome definition has a level that nobody computes')
    end
{%- endmacro %}
