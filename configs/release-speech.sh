#!/usr/bin/env bash
# Fetches the recordings without faces that take part in configs/release.yaml, into a folder with a
# folder for each speaker: telephone prompts in Spanish, French, Italian and Russian, 140 minutes by
# six people, from Debian's packages (CC-BY-SA-3.0; the Russian ones CC-BY-3.0, Armelle's BSD).
# Needs apt-get and dpkg-deb, as on Debian and Ubuntu, and ffmpeg. A folder that is there is kept.
set -euo pipefail

out=${1:-runs/release-speech}
partial="$out.partial"
packages="
asterisk-core-sounds-es-g722 1.6.1-1 e4e3b4281057d3b81b779298fd6be705f57411513955c518eed1bcaabbd615b8
asterisk-core-sounds-fr-g722 1.6.1-1 7add61d5e42279ecff1bbdf842a5a946ac3644fac9a0fe44384731aa7270c8e0
asterisk-core-sounds-it-g722 1.6.1-1 46b4cf7afc508a5fcfc051b7ea233251c0d195dd4ef83cc4b7facb4c6429b016
asterisk-core-sounds-ru-g722 1.6.1-1 673b4238a6b8269960f055d868c6a11083f7a0d00979167cb01554046b48ed9b
asterisk-prompt-fr-armelle 20070613-2.2 162570b1a9b3512a98f06b89f60c7c17cf1b9b52297315adca9a4e5be728bea3
asterisk-prompt-it-menardi-wav 1:1.4.22+mm20110907-3.1 3094530d98f8758ac275572d59624c41f60969fef883f34f4886d144f3dfeb21
"

fail() { echo "release-speech: $*" >&2; exit 2; }

[[ ! -d $out ]] || { echo "$out is there already: kept"; exit 0; }
for tool in apt-get dpkg-deb ffmpeg sha256sum; do
	command -v "$tool" >/dev/null || fail "$tool is missing; install it, or train without these" \
		"recordings: pseudo_labels.recordings=null export.licence=Apache-2.0"
done
rm -rf "$partial"
mkdir -p "$partial/packages"
while read -r name version sha256; do
	[[ -n $name ]] || continue
	echo "fetching $name $version"
	(cd "$partial/packages" && apt-get download -qq "$name=$version") 2>"$partial/error" ||
		fail "$name $version: apt-get cannot download it ($(tail -n 1 "$partial/error")); run apt-get" \
			"update once, or train without: pseudo_labels.recordings=null export.licence=Apache-2.0"
	package=$(echo "$partial/packages/$name"_*.deb)
	echo "$sha256  $package" | sha256sum --check --status ||
		fail "$package: is not the pinned $name $version, by its sha256; do not use it"
	mkdir -p "$partial/$name"
	dpkg-deb -x "$package" "$partial/unpacked"
	number=0
	while IFS= read -r file; do
		case $file in
			*.g722) format=(-f g722) ;;
			*.gsm) format=(-f gsm) ;;
			*) format=(-f wav) ;;
		esac
		flac="$partial/$name/$(printf %04d $number).flac"
		if ffmpeg -nostdin -v error "${format[@]}" -i "$file" -ac 1 -ar 16000 "$flac"; then
			number=$((number + 1))
		else
			rm -f "$flac"
		fi
	done < <(find "$partial/unpacked" -type f \( -name '*.g722' -o -name '*.gsm' -o -name '*.wav' \) \
		! -path '*/silence/*' ! -name '*beep*' ! -name '*tone*' ! -name '*music*' ! -name 'tt-*' |
		LC_ALL=C sort)
	((number)) || fail "$name: ffmpeg decodes none of its recordings; install one with G.722 and GSM"
	echo "$name: $number recordings"
	rm -rf "$partial/unpacked"
done <<<"$packages"
rm -rf "$partial/packages" "$partial/error"
mv "$partial" "$out"
